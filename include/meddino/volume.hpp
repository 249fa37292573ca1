// Part of meddino.hpp: views of the caller's voxels.
#ifndef MEDDINO_VOLUME_HPP
#define MEDDINO_VOLUME_HPP
#include "core.hpp"

namespace meddino {

/// A volume as meddino_volume_init sets it: float32, one channel, 1 mm, LPS.
inline meddino_volume volume() {
  meddino_volume v;
  meddino_volume_init(&v, sizeof v);
  return v;
}

/// A read-only view of packed voxels, x fastest. `spacing` in mm.
template <class T>
meddino_volume view(const T *voxels, std::int64_t width, std::int64_t height, std::int64_t depth, double spacing_x = 1, double spacing_y = 1,
                    double spacing_z = 1) {
  meddino_volume v = volume();
  v.dtype = detail::DType<T>::code;
  v.dims[0] = width, v.dims[1] = height, v.dims[2] = depth;
  v.spacing[0] = spacing_x, v.spacing[1] = spacing_y, v.spacing[2] = spacing_z;
  v.data = voxels;
  v.data_bytes = width > 0 && height > 0 && depth > 0 ? sizeof(T) * static_cast<size_t>(width) * static_cast<size_t>(height) * static_cast<size_t>(depth) : 0;
  return v;
}

/// A packed view for a result on the grid of `like`, with `channels` channels one after the other.
template <class T>
meddino_volume writable(T *voxels, const meddino_volume &like, std::int32_t channels = 1) {
  meddino_volume v = view(voxels, like.dims[0], like.dims[1], like.dims[2], like.spacing[0], like.spacing[1], like.spacing[2]);
  for (int i = 0; i < 3; i++) v.origin[i] = like.origin[i];
  for (int i = 0; i < 9; i++) v.direction[i] = like.direction[i];
  v.space = like.space;
  v.channels = channels;
  v.data = nullptr;
  v.writable = voxels;
  v.data_bytes *= channels > 0 ? static_cast<size_t>(channels) : 0;
  return v;
}

/// Throws `Error` for a volume that no call would take.
inline void check(const meddino_volume &v) { detail::check(meddino_volume_check(&v)); }

}  // namespace meddino
#endif
