#include "threads.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace recmind {
namespace {

struct Work {
    void (*call)(const void*, std::int64_t);
    const void* data;
    std::int64_t chunks;
};

class Pool {
  public:
    void run(int threads, Work work) {
        const std::lock_guard turn(turn_);
        const int helpers = static_cast<int>(std::min<std::int64_t>(threads, work.chunks)) - 1;
        while (static_cast<int>(workers_.size()) < helpers) {
            const int number = static_cast<int>(workers_.size());
            // A worker made now has missed every earlier job and must not mistake one of them for a new one.
            workers_.emplace_back([this, number, seen = job_] { serve(number, seen); });
            workers_.back().detach();
        }
        {
            const std::lock_guard lock(mutex_);
            work_ = work, helpers_ = helpers, busy_ = helpers;
            next_.store(0, std::memory_order_relaxed);
            ++job_;
        }
        start_.notify_all();
        take(work);
        std::unique_lock lock(mutex_);
        done_.wait(lock, [this] { return busy_ == 0; });
    }

  private:
    void take(Work work) {
        for (std::int64_t c; (c = next_.fetch_add(1, std::memory_order_relaxed)) < work.chunks;) work.call(work.data, c);
    }

    void serve(int number, std::uint64_t seen) {
        for (;;) {
            Work work;
            {
                std::unique_lock lock(mutex_);
                start_.wait(lock, [&] { return job_ != seen; });
                seen = job_;
                if (number >= helpers_) continue;
                work = work_;
            }
            take(work);
            const std::lock_guard lock(mutex_);
            if (--busy_ == 0) done_.notify_one();
        }
    }

    std::mutex turn_, mutex_;
    std::condition_variable start_, done_;
    std::vector<std::thread> workers_;
    std::atomic<std::int64_t> next_{0};
    Work work_{};
    int helpers_ = 0, busy_ = 0;
    std::uint64_t job_ = 0;
};

// Never destroyed: detached workers wait in it until the process ends.
Pool* pool = new Pool;

#if defined(__unix__) || defined(__APPLE__)
// A forked child has none of the workers; it starts with a pool of its own.
[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, [] { pool = new Pool; });
#endif

}  // namespace

void parallel(int threads, std::int64_t chunks, void (*call)(const void*, std::int64_t), const void* data) {
    if (threads > 1 && chunks > 1) return pool->run(threads, {call, data, chunks});
    for (std::int64_t c = 0; c < chunks; ++c) call(data, c);
}

void* scratch(std::int64_t bytes) {
    static thread_local std::vector<std::max_align_t> buffer;
    const auto units = static_cast<std::size_t>(bytes) / sizeof(std::max_align_t) + 1;
    if (buffer.size() < units) buffer.resize(units);
    return buffer.data();
}

}  // namespace recmind
