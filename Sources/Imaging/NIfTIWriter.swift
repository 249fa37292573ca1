public import Platform
internal import Tensors

extension NIfTI {
  /// Writes `.nii` or `.nii.gz` (by the name's ending), whole or not at all. Equal volumes give equal files.
  ///
  /// The header is what SimpleITK writes: qform and sform with code 1, units mm and s, no description; slope and
  /// intercept of the volume. Sheared directions go into the sform exactly and into the qform as the closest rotation.
  /// NIfTI-2 when an extent exceeds 32767. bool is written as uint8, float16 and bfloat16 as float32.
  /// Throws: `.unsupported` for another ending, `.invalid` for an impossible geometry, `.io`, `.cancelled`.
  /// Source: pipeline specification 1.4 (last bullet).
  public static func write(_ volume: Volume, to path: String, control: RunControl? = nil) throws(MedDINOError) {
    let name = path.lowercased()
    let isGzip = name.hasSuffix(".nii.gz")
    guard isGzip || name.hasSuffix(".nii") else { throw .unsupported("\(path): the name must end in .nii or .nii.gz") }
    try VolumeCheck.geometry(volume.geometry)
    let file = try AtomicFile(path)
    let gzip = isGzip ? try GzipWriter(file) : nil
    func put(_ bytes: UnsafeRawBufferPointer) throws(MedDINOError) {
      if let gzip { try gzip.write(bytes) } else { try file.write(bytes) }
    }
    let header = try NIfTIHeaderWriter(volume).bytes
    var failure: MedDINOError?
    header.withUnsafeBytes { raw in do throws(MedDINOError) { try put(raw) } catch { failure = error } }
    if let failure { throw failure }
    try VoxelStream(volume).run(control, put)
    try gzip?.finish()
    try file.commit()
  }
}

/// Hands out the voxels of any strided volume in file order: x fastest, then y, z, channel.
private struct VoxelStream {
  let volume: Volume
  private let chunk = 1 << 16

  init(_ volume: Volume) { self.volume = volume }

  func run(
    _ control: RunControl?, _ put: (UnsafeRawBufferPointer) throws(MedDINOError) -> Void
  ) throws(MedDINOError) {
    let d = volume.geometry.dims
    let size = volume.dtype.byteCount
    let widens = volume.dtype == .float16 || volume.dtype == .bfloat16
    let contiguous = volume.strides[0] == size && !widens
    let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: chunk * 8, alignment: 64)
    defer { scratch.deallocate() }
    for channel in 0..<volume.channels {
      for z in 0..<d[2] {
        for y in 0..<d[1] {
          let line = volume.address(0, y, z, channel: channel)
          if contiguous {
            try put(UnsafeRawBufferPointer(start: line, count: d[0] * size))
            continue
          }
          var x = 0
          while x < d[0] {
            let count = min(chunk, d[0] - x)
            let bytes = gather(line + x * volume.strides[0], count, widens, scratch)
            try put(UnsafeRawBufferPointer(rebasing: scratch[..<bytes]))
            x += count
          }
        }
        try control?.update(Double(channel * d[2] + z + 1) / Double(volume.channels * d[2]))
      }
    }
  }

  private func gather(
    _ line: UnsafeRawPointer, _ count: Int, _ widens: Bool, _ out: UnsafeMutableRawBufferPointer
  ) -> Int {
    let stride = volume.strides[0]
    func copy<T: BitwiseCopyable>(_: T.Type) -> Int {
      let target = out.bindMemory(to: T.self)
      for i in 0..<count { target[i] = (line + i * stride).loadUnaligned(as: T.self) }
      return count * MemoryLayout<T>.size
    }
    if widens {
      let target = out.bindMemory(to: Float.self)
      for i in 0..<count { target[i] = Float((line + i * stride).loadElement(volume.dtype, 0)) }
      return count * 4
    }
    switch volume.dtype.byteCount {
    case 1: return copy(UInt8.self)
    case 2: return copy(UInt16.self)
    case 4: return copy(UInt32.self)
    default: return copy(UInt64.self)
    }
  }
}
