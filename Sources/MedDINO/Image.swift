public import Imaging
public import Platform
public import Tensors

/// A volume of our own with its context. Stored values are the image's values: files with a slope are read as float32.
public final class Image: Sendable {
  public let volume: Volume
  public let context: Context
  /// From the axes of `volume` to those of the file it was read from; nil where they are the same. Files are written in that order.
  private let fileSteps: [(axis: Int, reversed: Bool)]?

  public convenience init(_ volume: Volume, context: Context) { self.init(volume, fileSteps: nil, context: context) }

  private init(_ volume: Volume, fileSteps: [(axis: Int, reversed: Bool)]?, context: Context) {
    self.volume = volume
    self.fileSteps = fileSteps
    self.context = context
  }

  /// Reads a file of a volume (NIfTI, NRRD, MetaImage) by the rules of one of nnU-Net's readers (`Model.imageReader` says which a model wants).
  /// Throws: `.io`, `.format`, `.unsupported`, `.outOfMemory`, `.cancelled`.
  public static func read(
    _ path: String, reader: VolumeFile.Reader = .simpleITK, context: Context, control: RunControl = RunControl()
  ) throws(MedDINOError) -> Image {
    try control.begin("read", from: 0, to: 1)
    let found = try VolumeFile.readImage(path, reader: reader, in: context.budget, control: control)
    let steps = found.isReordered ? AxisOrientation.ras.steps(to: found.fileOrientation) : nil
    let stored = found.volume
    guard stored.slope != 1 || stored.intercept != 0 else { return Image(stored, fileSteps: steps, context: context) }
    return Image(try scaled(stored, context.budget), fileSteps: steps, context: context)
  }

  /// Copies a volume's voxels, packed. Throws: `.outOfMemory`.
  public convenience init(copying source: Volume, context: Context) throws(MedDINOError) {
    self.init(try source.packedCopy(in: context.budget), context: context)
  }

  /// A new image on the same grid. Throws: `.outOfMemory`.
  public convenience init(like other: Image, _ dtype: DType, channels: Int = 1) throws(MedDINOError) {
    var volume = try Volume(
      allocating: dtype, channels: channels, geometry: other.volume.geometry, in: other.context.budget, "labels")
    volume.isPlane = other.volume.isPlane
    self.init(volume, fileSteps: other.fileSteps, context: other.context)
  }

  /// Writes the format of the name's ending (`VolumeFile.write`), whole or not at all, in the axis order of the file that this image or its model input was read from.
  /// Throws: `.io`, `.unsupported` for other endings, `.cancelled`.
  public func write(to path: String, control: RunControl = RunControl()) throws(MedDINOError) {
    try control.begin("write", from: 0, to: 1)
    try VolumeFile.write(fileSteps.map(volume.rearranged) ?? volume, to: path, control: control)
  }

  private static func scaled(_ stored: Volume, _ budget: MemoryBudget) throws(MedDINOError) -> Volume {
    var result = try Volume(allocating: .float32, channels: stored.channels, geometry: stored.geometry, in: budget, "scaled image")
    (result.isPlane, result.isReoriented) = (stored.isPlane, stored.isReoriented)
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
  /// The same voxels in memory of ours, packed. Throws: `.outOfMemory`, also where strides of 0 say more voxels than bytes can be counted.
  func packedCopy(in budget: MemoryBudget) throws(MedDINOError) -> Volume {
    let extents = geometry.dims + [channels, dtype.byteCount]
    guard extents.reduce(1.0, { $0 * Double($1) }) < 0x1p62 else {
      throw MedDINOError(.outOfMemory, "a copy of \(geometry.dims) voxels does not fit in memory")
    }
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
