// A small thread pool. Work is cut into chunks whose bounds depend on the data alone, and threads take
// the next free chunk: a loaded core does less, and the result does not depend on who did what.
#pragma once

#include <cstdint>

namespace recmind {

// Calls call(data, chunk) for every chunk in [0, chunks) on up to `threads` threads, the caller among them.
// Returns when all are done. Concurrent callers take turns.
void parallel(int threads, std::int64_t chunks, void (*call)(const void* data, std::int64_t chunk), const void* data);

// At least `bytes` bytes that belong to the calling thread until it asks again.
void* scratch(std::int64_t bytes);

// kernels.cpp is compiled for several instruction sets. An inline function of the standard library that it
// leaves out of line would exist in several versions under one name, and the linker may keep the one that
// this processor cannot run. Hence no containers and no std::function there, and internal linkage here.
namespace {
template <class F>
void for_chunks(int threads, std::int64_t chunks, const F& work) {
    parallel(threads, chunks, [](const void* f, std::int64_t chunk) { (*static_cast<const F*>(f))(chunk); }, &work);
}
}  // namespace

}  // namespace recmind
