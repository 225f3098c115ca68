/* Stands in for libcuda.so.1 where there is no GPU: the calls that the agent makes, on the machine's own memory.

   Strict where a mistake would else go unseen: no call without a context, no result before the stream was waited for,
   nothing freed twice or never. STANDIN_GPU names the GPU; STANDIN_CUDA_FAILS the call that fails. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUCCESS 0
#define OUT_OF_MEMORY 2
#define NOT_INITIALISED 3
#define INVALID_CONTEXT 201
#define INVALID_HANDLE 400
#define MOST 64

static int initialised, retained, streams, live;
static __thread void *current;
static struct { void *to; const void *from; size_t bytes; } waiting[MOST];
static int waits;

static int fails(const char *name) {
    const char *chosen = getenv("STANDIN_CUDA_FAILS");
    return chosen && strcmp(chosen, name) == 0;
}
#define BEGIN                                   \
    if (fails(__func__)) return OUT_OF_MEMORY;  \
    if (!initialised) return NOT_INITIALISED;
#define IN_CONTEXT \
    BEGIN          \
    if (!retained || current != &retained) return INVALID_CONTEXT;

int cuInit(unsigned flags) {
    if (fails(__func__)) return 100;
    initialised = 1;
    return flags ? 1 : SUCCESS;
}
int cuDeviceGet(int *device, int ordinal) { BEGIN *device = 7; return ordinal ? 101 : SUCCESS; }
int cuDeviceGetName(char *name, int length, int device) {
    BEGIN
    const char *given = getenv("STANDIN_GPU");
    snprintf(name, length, "%s", given ? given : "Orin");
    return device == 7 ? SUCCESS : 101;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    BEGIN
    if (device != 7) return 101;
    switch (attribute) {
    case 16: *value = 8; return SUCCESS;
    case 75: *value = 8; return SUCCESS;
    case 76: *value = 7; return SUCCESS;
    }
    return 1;
}
int cuDevicePrimaryCtxSetFlags_v2(int device, unsigned flags) { return device == 7 && flags == 4 ? SUCCESS : 1; }
int cuDevicePrimaryCtxRetain(void **context, int device) { BEGIN retained++; *context = &retained; return device != 7; }
int cuDevicePrimaryCtxRelease_v2(int device) { BEGIN if (!retained) return INVALID_CONTEXT; retained--; return device != 7; }
int cuCtxSetCurrent(void *context) { BEGIN current = context; return SUCCESS; }
int cuCtxGetCurrent(void **context) { *context = current; return SUCCESS; }
int cuStreamCreate(void **stream, unsigned flags) { IN_CONTEXT streams++; *stream = &streams; return flags != 1; }
int cuStreamDestroy_v2(void *stream) { IN_CONTEXT streams--; return stream == &streams ? SUCCESS : INVALID_HANDLE; }
int cuMemAlloc_v2(uint64_t *address, size_t bytes) {
    IN_CONTEXT
    void *memory = malloc(bytes);
    memset(memory, 0xA5, bytes);
    *address = (uint64_t)memory;
    live++;
    return SUCCESS;
}
int cuMemFree_v2(uint64_t address) { IN_CONTEXT free((void *)address); live--; return SUCCESS; }
int cuMemAllocHost_v2(void **memory, size_t bytes) { IN_CONTEXT *memory = malloc(bytes); memset(*memory, 0x5A, bytes); live++; return SUCCESS; }
int cuMemFreeHost(void *memory) { IN_CONTEXT free(memory); live--; return SUCCESS; }
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream) {
    IN_CONTEXT
    if (stream != &streams) return INVALID_HANDLE;
    memcpy((void *)to, from, bytes);
    return SUCCESS;
}
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream) {
    IN_CONTEXT
    if (stream != &streams || waits == MOST) return INVALID_HANDLE;
    waiting[waits].to = to;
    waiting[waits].from = (const void *)from;
    waiting[waits++].bytes = bytes;
    return SUCCESS;
}
int cuStreamSynchronize(void *stream) {
    IN_CONTEXT
    if (stream != &streams) return INVALID_HANDLE;
    for (int i = 0; i < waits; i++) memcpy(waiting[i].to, waiting[i].from, waiting[i].bytes);
    waits = 0;
    return SUCCESS;
}
int cuGetErrorString(int code, const char **text) {
    *text = code == OUT_OF_MEMORY ? "out of memory" : code == 100 ? "no CUDA-capable device is detected" : "stand-in error";
    return SUCCESS;
}
/* For tests: what has not been given back. */
int standin_left(void) { return live + streams + retained; }
