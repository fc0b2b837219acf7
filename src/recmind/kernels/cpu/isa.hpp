// Names with the instruction set in them: RECMIND_CONCAT(kernels_, RECMIND_ISA) is kernels_avx2 where that is compiled.
#pragma once

#define RECMIND_CONCAT_(a, b) a##b
#define RECMIND_CONCAT(a, b) RECMIND_CONCAT_(a, b)
#define RECMIND_STRING_(a) #a
#define RECMIND_STRING(a) RECMIND_STRING_(a)
