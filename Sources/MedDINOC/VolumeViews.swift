internal import CMedDINO
internal import Imaging
internal import Platform
internal import Tensors

// The caller's volumes as ours: checked, then used in place.

private let dtypes: [(code: Int, dtype: DType)] = [
  (Int(MEDDINO_U8), .uint8), (Int(MEDDINO_I16), .int16), (Int(MEDDINO_U16), .uint16), (Int(MEDDINO_I32), .int32),
  (Int(MEDDINO_F32), .float32), (Int(MEDDINO_F16), .float16), (Int(MEDDINO_F64), .float64), (Int(MEDDINO_BF16), .bfloat16),
  (Int(MEDDINO_I8), .int8), (Int(MEDDINO_U32), .uint32), (Int(MEDDINO_I64), .int64), (Int(MEDDINO_U64), .uint64),
]
func elementType(_ code: Int32) -> DType? { dtypes.first { $0.code == Int(code) }?.dtype }
func dtypeCode(_ dtype: DType) -> Int32 {
  Int32(dtypes.first { $0.dtype == (dtype == .bool ? .uint8 : dtype) }?.code ?? Int(MEDDINO_U8))
}

/// What `meddino_volume_init` sets.
func defaultVolume() -> meddino_volume {
  var v = meddino_volume()
  v.dtype = Int32(MEDDINO_F32)
  v.channels = 1
  v.space = Int32(MEDDINO_LPS)
  v.dims = (1, 1, 1)
  v.spacing = (1, 1, 1)
  v.direction = (1, 0, 0, 0, 1, 0, 0, 0, 1)
  return v
}

enum VolumeUse { case input, output, either }

/// The caller's struct as a borrowed volume. Throws: `.invalid`, `.shape`, `.unsupported` naming `name` and the field.
func volume(_ pointer: UnsafePointer<meddino_volume>?, _ name: String, _ use: VolumeUse) throws(MedDINOError) -> Volume {
  let v = try read(pointer, name, defaults: defaultVolume())
  do { return try view(v, use) } catch { throw MedDINOError(error.kind, "\(name).\(error.message)") }
}

private func view(_ v: meddino_volume, _ use: VolumeUse) throws(MedDINOError) -> Volume {
  guard let dtype = elementType(v.dtype) else {
    throw .invalid("dtype is \(v.dtype), expected a MEDDINO_ type")
  }
  guard (1...65536).contains(v.channels) else { throw .invalid("channels is \(v.channels), expected 1 to 65536") }
  guard v.space == Int32(MEDDINO_LPS) || v.space == Int32(MEDDINO_RAS) else {
    throw .invalid("space is \(v.space), expected MEDDINO_LPS or MEDDINO_RAS")
  }
  let dims = [v.dims.0, v.dims.1, v.dims.2].map { Int($0) }
  let d = v.direction
  var geometry = Geometry(
    dims: dims, spacing: [v.spacing.0, v.spacing.1, v.spacing.2], origin: [v.origin.0, v.origin.1, v.origin.2],
    direction: [d.0, d.1, d.2, d.3, d.4, d.5, d.6, d.7, d.8])
  try VolumeCheck.geometry(geometry)
  if v.space == Int32(MEDDINO_RAS) { geometry = geometry.mirroredXY }
  let base: UnsafeRawPointer?
  switch use {
  case .input: base = v.data ?? v.writable.map { UnsafeRawPointer($0) }
  case .output: base = v.writable.map { UnsafeRawPointer($0) }
  case .either: base = v.data ?? v.writable.map { UnsafeRawPointer($0) }
  }
  guard let base else { throw .invalid(use == .output ? "writable is NULL" : "data is NULL") }
  var strides = [v.strides.0, v.strides.1, v.strides.2].map { Int($0) }
  var channelStride = Int(v.channel_stride)
  if strides == [0, 0, 0] {
    let size = dtype.byteCount
    let row = try Checked.product([size, dims[0]], "dims", kind: .invalid)
    let plane = try Checked.product([row, dims[1]], "dims", kind: .invalid)
    strides = [size, row, plane]
  }
  if channelStride == 0 {
    let reach = try VolumeCheck.extent(dtype: dtype, dims: dims, channels: 1, strides: strides, channelStride: 0)
    channelStride = reach.count
  }
  let result = Volume(
    dtype: dtype, channels: Int(v.channels), geometry: geometry, base: base, strides: strides, channelStride: channelStride)
  guard v.data_bytes >= 0 else { throw .invalid("data_bytes is \(v.data_bytes), which is no size") }
  try VolumeCheck.view(result, dataBytes: v.data_bytes)
  return result
}

/// One of our volumes as the caller's struct.
func describe(_ volume: Volume) -> meddino_volume {
  var v = defaultVolume()
  let g = volume.geometry
  v.dtype = dtypeCode(volume.dtype)
  v.channels = Int32(clamping: volume.channels)
  v.dims = (Int64(g.dims[0]), Int64(g.dims[1]), Int64(g.dims[2]))
  v.strides = (Int64(volume.strides[0]), Int64(volume.strides[1]), Int64(volume.strides[2]))
  v.channel_stride = Int64(volume.channelStride)
  v.spacing = (g.spacing[0], g.spacing[1], g.spacing[2])
  v.origin = (g.origin[0], g.origin[1], g.origin[2])
  let d = g.direction
  v.direction = (d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7], d[8])
  v.data = volume.base
  let extent = try? VolumeCheck.extent(
    dtype: volume.dtype, dims: g.dims, channels: volume.channels, strides: volume.strides, channelStride: volume.channelStride)
  v.data_bytes = extent?.count ?? 0
  return v
}
