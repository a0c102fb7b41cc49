/* A consumer of cyrnn.h in plain C: streams in threads that Python has never seen. */
#include <cyrnn.h>
#include <pthread.h>
#include <stdlib.h>

typedef struct {
    const cyrnn_api *cyrnn;
    cyrnn_model *model;
    int64_t timesteps;
    const float *x;
    float *outputs;
    int in_own_memory;
    cyrnn_status status;
} stream;

static void *run(void *argument) {
    stream *const s = (stream *)argument;
    const cyrnn_api *const cyrnn = s->cyrnn;
    cyrnn_runner *runner = NULL;
    void *memory = NULL;
    size_t bytes = 0;
    cyrnn_info info;
    info.struct_size = sizeof info;
    s->status = cyrnn->model_info(s->model, &info);
    if (s->status == CYRNN_OK && s->in_own_memory) {
        s->status = cyrnn->runner_size(s->model, 1, &bytes);
        memory = malloc(bytes);
    }
    if (s->status == CYRNN_OK) s->status = cyrnn->runner_create(s->model, 1, memory, bytes, &runner);
    /* half of it in steps, the rest at once */
    for (int64_t t = 0; t < s->timesteps / 2 && s->status == CYRNN_OK; ++t)
        s->status = cyrnn->step_f32(runner, s->x + t * info.features, s->outputs + t * info.units);
    const int64_t done = s->timesteps / 2;
    if (s->status == CYRNN_OK)
        s->status = cyrnn->forward_f32(runner, s->timesteps - done, s->x + done * info.features, s->outputs + done * info.units);
    if (runner) cyrnn->runner_destroy(runner);
    free(memory);
    return NULL;
}

/* x: (streams, timesteps, features) to outputs (streams, timesteps, units), a thread for each stream. */
int run_streams(const cyrnn_api *cyrnn, cyrnn_model *model, int streams, int64_t timesteps, const float *x, float *outputs) {
    stream *const all = (stream *)calloc((size_t)streams, sizeof *all);
    pthread_t *const threads = (pthread_t *)calloc((size_t)streams, sizeof *threads);
    cyrnn_info info;
    int status;
    info.struct_size = sizeof info;
    status = (int)cyrnn->model_info(model, &info);
    for (int i = 0; i < streams && status == CYRNN_OK; ++i) {
        const stream s = {cyrnn, model, timesteps, x + i * timesteps * info.features, outputs + i * timesteps * info.units, i % 2, CYRNN_OK};
        all[i] = s;
        pthread_create(threads + i, NULL, run, all + i);
    }
    for (int i = 0; i < streams && threads[i]; ++i) {
        pthread_join(threads[i], NULL);
        if (all[i].status != CYRNN_OK) status = (int)all[i].status;
    }
    free(all);
    free(threads);
    return status;
}
