public import Imaging
public import Platform
public import Tensors

/// A volume of our own with its context. Stored values are the image's values: files with a slope are read as float32.
public final class Image: Sendable {
  public let volume: Volume
  public let context: Context

  public init(_ volume: Volume, context: Context) {
    self.volume = volume
    self.context = context
  }

  /// Reads a NIfTI file as ITK does, or as the model's plan wants it. Throws: `.io`, `.format`, `.unsupported`, `.outOfMemory`.
  public static func read(
    _ path: String, reader: NIfTI.Reader = .simpleITK, context: Context, control: RunControl? = nil
  ) throws(MedDINOError) -> Image {
    let stored = try NIfTI.read(path, reader: reader, in: context.budget, control: control)
    guard stored.slope != 1 || stored.intercept != 0 else { return Image(stored, context: context) }
    return Image(try scaled(stored, context.budget), context: context)
  }

  /// Copies a volume's voxels, packed. Throws: `.outOfMemory`.
  public convenience init(copying source: Volume, context: Context) throws(MedDINOError) {
    self.init(try source.packedCopy(in: context.budget), context: context)
  }

  /// A new image on the same grid. Throws: `.outOfMemory`.
  public convenience init(like other: Image, _ dtype: DType, channels: Int = 1) throws(MedDINOError) {
    self.init(
      try Volume(allocating: dtype, channels: channels, geometry: other.volume.geometry, in: other.context.budget, "labels"),
      context: other.context)
  }

  /// Writes .nii or .nii.gz, whole or not at all. Throws: `.io`, `.unsupported` for other endings.
  public func write(to path: String, control: RunControl? = nil) throws(MedDINOError) {
    try NIfTI.write(volume, to: path, control: control)
  }

  private static func scaled(_ stored: Volume, _ budget: MemoryBudget) throws(MedDINOError) -> Volume {
    let result = try Volume(allocating: .float32, channels: stored.channels, geometry: stored.geometry, in: budget, "scaled image")
    let d = stored.geometry.dims
    let plane = result.mutableBase.assumingMemoryBound(to: Float.self)
    for channel in 0..<stored.channels {
      for z in 0..<d[2] {
        stored.readPlane(
          axis: 2, index: z, rowAxis: 1, rows: 0..<d[1], columnAxis: 0, columns: 0..<d[0], channel: channel,
          into: plane + (channel * d[2] + z) * d[0] * d[1])
      }
    }
    return result
  }
}

extension Volume {
  /// The same voxels in memory of ours, packed. Throws: `.outOfMemory`.
  func packedCopy(in budget: MemoryBudget) throws(MedDINOError) -> Volume {
    var copy = try Volume(allocating: dtype, channels: channels, geometry: geometry, in: budget, "image")
    (copy.slope, copy.intercept, copy.isPlane) = (slope, intercept, isPlane)
    let (d, size) = (geometry.dims, dtype.byteCount)
    for channel in 0..<channels {
      for z in 0..<d[2] {
        for y in 0..<d[1] {
          let from = address(0, y, z, channel: channel)
          let to = UnsafeMutableRawPointer(mutating: copy.address(0, y, z, channel: channel))
          if strides[0] == size {
            to.copyMemory(from: from, byteCount: d[0] * size)
          } else {
            for x in 0..<d[0] { (to + x * size).copyMemory(from: from + x * strides[0], byteCount: size) }
          }
        }
      }
    }
    return copy
  }
}
