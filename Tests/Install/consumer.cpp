// The same in C++11, with the RAII header.
#include <cstdio>
#include <cstring>
#include <meddino.hpp>

int main() {
  meddino::Context context;
  try {
    meddino::Model::open(context, "no-such-file");
  } catch (const meddino::Error& error) {
    if (error.code() != MEDDINO_E_IO || !std::strstr(error.what(), "no-such-file")) return std::fprintf(stderr, "%s\n", error.what()), 1;
    return std::puts("C++") < 0;
  }
  return 1;
}
