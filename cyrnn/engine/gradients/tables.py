"""The way back through the look-up in a table: see ops_weighted.hpp."""

from cyrnn.engine.gradients.noted import Note, Noted, View, Way


class Tables(Noted):
    """The part of a program with notes that adds embeddings."""

    def embedding(self, slot: int, tokens: View, out: View) -> None:
        super().embedding(slot, tokens, out)

        def back(way: Way) -> None:
            d_y = way.gradient(out)
            shape = self.facts[slot].trainable.get("embeddings")
            if d_y is not None and shape is not None:
                d_table = way.weight(slot, "embeddings", shape)
                way.program.embedding_gradient(way.value(tokens), d_y, d_table, shape[1])

        self.notes.append(Note((), (out,), slot, back))
