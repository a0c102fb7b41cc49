# The rules of optimizers, and how they move flat weights.

cdef extern from "updates.hpp" namespace "cyrnn" nogil:
    enum class Rule(int):
        pass

    struct RuleOptions:
        double beta_1, beta_2, epsilon

    struct Segment:
        ptrdiff_t first, size
        double l1, l2, decay

    int needed_slots(Rule rule)

    cdef cppclass NadamProduct:
        long t
        double value

    cdef cppclass Movement:
        Rule rule
        RuleOptions options
        double clip_value, clip_norm, clip_global, ema_momentum
        long ema_overwrite, accumulated
        vector[Segment] segments
        NadamProduct product
        bool updates_at(long call)
        double move(bool single, ptrdiff_t size, void *w, void *g, void **slots, double rate, long call,
                    bool first_average)

    const int most_slots, all_slots

    void move_average "cyrnn::Updates<float>::move_average"(
        ptrdiff_t n, const float *value, float *average, double momentum)
    void move_average_f64 "cyrnn::Updates<double>::move_average"(
        ptrdiff_t n, const double *value, double *average, double momentum)
