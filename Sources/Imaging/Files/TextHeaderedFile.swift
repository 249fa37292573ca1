internal import Platform
internal import Tensors

/// Writes a text header and compressed voxels, channels first: as one file, or as two of which the voxels appear first.
struct TextHeaderedFile {
  struct Header {
    let before: String
    /// What stands behind the number of compressed bytes, for formats that state it at the end of `before`.
    var behindSize: String?
  }
  private let volume: Volume
  private let voxels: VoxelStream
  private let detached: String
  private let dataEnding: String
  private let wrapping: GzipWriter.Wrapping
  /// Digits of any number of bytes.
  private static let sizeWidth = 19

  /// `detached`: the ending of headers whose voxels lie beside them, in a file with `dataEnding` in its place.
  init(_ volume: Volume, detached: String, dataEnding: String, wrapping: GzipWriter.Wrapping) {
    self.volume = volume
    voxels = VoxelStream(volume, .interleaved, appliesScaling: true)
    (self.detached, self.dataEnding, self.wrapping) = (detached, dataEnding, wrapping)
  }

  /// Of the voxels as they are written.
  var dtype: DType { voxels.dtype }

  /// `text`: the header that names a data file, nil for voxels in the header's own. Throws: `.invalid`, `.io`, `.cancelled`.
  func write(
    to path: String, control: RunControl?, _ text: (_ dataFile: String?) throws(MedDINOError) -> Header
  ) throws(MedDINOError) {
    try VolumeCheck.geometry(volume.geometry)
    let isDetached = path.lowercased().hasSuffix(detached)
    let data = isDetached ? try DataFileName.beside(path, replacing: detached, by: dataEnding) : nil
    let header = try AtomicFile(path)
    let text = try text(data?.name)
    try header.write(text.before)
    if let behind = text.behindSize { try header.write(String(repeating: " ", count: Self.sizeWidth) + behind) }
    let file = try data.map { data throws(MedDINOError) in try AtomicFile(data.path) } ?? header
    let start = file.bytesWritten
    let writer = try GzipWriter(file, wrapping: wrapping)
    try voxels.run(control) { bytes throws(MedDINOError) in try writer.write(bytes) }
    try writer.finish()
    if text.behindSize != nil {
      // The size stands before the data that it is known from: the blanks left for it are filled now.
      try header.overwrite(Array(String(file.bytesWritten - start).utf8), at: text.before.utf8.count)
    }
    try file.commit()
    if isDetached { try header.commit() }
  }
}

/// The axes of a volume as text headers state them: two for a plane that lies in the x-y plane at z = 0, as it was read, else three.
struct WrittenGrid {
  let rank: Int
  let dims: [Int]
  let spacing: [Double]
  let origin: [Double]
  /// Of each axis, in LPS.
  let directions: [[Double]]

  init(_ volume: Volume) {
    let geometry = volume.geometry
    let matrix = Matrix3(geometry.direction)
    let isPlane = volume.isPlane && geometry.dims[2] == 1
    let isFlat = isPlane && geometry.origin[2] == 0 && matrix.column(2) == [0, 0, 1] && matrix[2, 0] == 0 && matrix[2, 1] == 0
    let rank = isFlat ? 2 : 3
    self.rank = rank
    dims = Array(geometry.dims.prefix(rank))
    // what is no plane of two axes gets a spacing that says nothing, instead of the stand-in
    spacing = isPlane && !isFlat ? [geometry.spacing[0], geometry.spacing[1], 1] : Array(geometry.spacing.prefix(rank))
    origin = Array(geometry.origin.prefix(rank))
    directions = (0..<rank).map { Array(matrix.column($0).prefix(rank)) }
  }
}
