internal import Platform
internal import Tensors

/// Writes MetaImage files as ITK does: LPS, channels first, compressed by zlib.
struct MetaImageWriter {
  private let volume: Volume
  private let voxels: VoxelStream

  init(_ volume: Volume) {
    self.volume = volume
    voxels = VoxelStream(volume, .interleaved, appliesScaling: true)
  }

  /// `.mha`, or `.mhd` with the voxels beside it. Throws: `.invalid`, `.io`, `.cancelled`.
  func write(to path: String, control: RunControl?) throws(MedDINOError) {
    try VolumeCheck.geometry(volume.geometry)
    let isDetached = path.lowercased().hasSuffix(".mhd")
    let data = isDetached ? try DataFileName.beside(path, replacing: ".mhd", by: ".zraw") : nil
    let header = try AtomicFile(path)
    let text = try text(dataFile: data?.name ?? "LOCAL")
    try header.write(text.before + String(repeating: " ", count: Self.sizeWidth) + text.behind)
    let file = try data.map { data throws(MedDINOError) in try AtomicFile(data.path) } ?? header
    let start = file.bytesWritten
    let zlib = try GzipWriter(file, wrapping: .zlib)
    try voxels.run(control) { bytes throws(MedDINOError) in try zlib.write(bytes) }
    try zlib.finish()
    // The compressed size stands before the data that it is known from: the blanks left for it are filled now.
    try header.overwrite(Array(String(file.bytesWritten - start).utf8), at: text.before.utf8.count)
    try file.commit()
    if isDetached { try header.commit() }
  }

  private static let sizeWidth = 19

  /// The header up to the value of CompressedDataSize, and from there on.
  private func text(dataFile: String) throws(MedDINOError) -> (before: String, behind: String) {
    let grid = WrittenGrid(volume)
    func row(_ values: [Double]) -> String { values.map(HeaderText.text).joined(separator: " ") }
    let before = [
      "ObjectType = Image", "NDims = \(grid.rank)", "BinaryData = True", "BinaryDataByteOrderMSB = False", "CompressedData = True",
      "CompressedDataSize = ",
    ]
    var lines = [
      "", "TransformMatrix = " + row(grid.directions.flatMap { $0 }), "Offset = " + row(grid.origin),
      "CenterOfRotation = " + row(grid.origin.map { _ in 0 }),
    ]
    if grid.rank == 3 { lines.append("AnatomicalOrientation = \(try acronym())") }
    lines += ["ElementSpacing = " + row(grid.spacing), "DimSize = " + grid.dims.map(String.init).joined(separator: " ")]
    if volume.channels > 1 { lines.append("ElementNumberOfChannels = \(volume.channels)") }
    lines += ["ElementType = \(type)", "ElementDataFile = \(dataFile)"]
    return (before.joined(separator: "\n"), lines.joined(separator: "\n") + "\n")
  }

  /// MetaIO's letters name where the axes come from.
  private func acronym() throws(MedDINOError) -> String {
    let orientation = try volume.geometry.orientation()
    return String((0..<3).map { Array(orientation.isNegative[$0] ? "LPS" : "RAI")[orientation.worldAxis[$0]] })
  }

  private var type: String {
    switch voxels.dtype {
    case .int8: "MET_CHAR"
    case .uint8, .bool: "MET_UCHAR"
    case .int16: "MET_SHORT"
    case .uint16: "MET_USHORT"
    case .int32: "MET_INT"
    case .uint32: "MET_UINT"
    case .int64: "MET_LONG_LONG"
    case .uint64: "MET_ULONG_LONG"
    case .float32, .float16, .bfloat16: "MET_FLOAT"
    case .float64: "MET_DOUBLE"
    }
  }
}
