// The simd engine of an instruction set: included inside a namespace for each, after tiles.hpp, tile_sums.hpp and lanes.hpp.
//
// The bits of a row do not depend on the slice it is in, so slices may depend on
// the threads: as many for each, of about a tenth of a millisecond in wide vectors, because the caller waits for a slice that another
// thread has begun, also when the system lets that thread wait. Weights that are too large for the second-level cache
// are read anew for each slice, so there the slices are as large as can be. Rows of few units go in whole vectors of rows.
static std::ptrdiff_t slice_rows(const Load *load) {
    constexpr std::ptrdiff_t tile = CYRNN_TILE_ROWS, most = 96, least = 4;
    constexpr std::ptrdiff_t in_lanes = Lanes<float>::most_rows;
    constexpr double slice_work = 1.2e7, cached = 1 << 19, few_units = 1 << 12;
    const std::ptrdiff_t batch = load->batch, threads = load->threads;
    std::ptrdiff_t rows = most;
    if (threads > 1 && load->weights_bytes <= cached && most * load->row_work > slice_work) {
        rows = static_cast<std::ptrdiff_t>(slice_work / load->row_work);
        rows = rows < tile ? tile : rows;
    }
    const std::ptrdiff_t rounds = (batch + rows * threads - 1) / (rows * threads), slices = rounds * threads;
    rows = (batch + slices - 1) / slices;
    if (load->weights_bytes <= few_units) rows = (rows + in_lanes - 1) / in_lanes * in_lanes;
    return rows > least ? rows : least;
}

static void nothing() {}

template <class T>
constexpr Product<T> product{Tiles<T>::workspace, Tiles<T>::step, Tiles<T>::project, TileSums<T>::accumulate, TileSums<T>::accumulate_workspace,
                             2 * CYRNN_TILE_ROWS, TileSums<T>::copy, TileSums<T>::add, TileSums<T>::multiply,
                             Lanes<T>::workspace, Lanes<T>::run, Lanes<T>::lanes / 2, true,
                             Tiles<T>::step_part, Tiles<T>::project_part, Tiles<T>::largest_group};
