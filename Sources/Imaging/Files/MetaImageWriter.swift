internal import Platform
internal import Tensors

/// Writes MetaImage files as ITK does: LPS, channels first, compressed by zlib.
struct MetaImageWriter {
  private let volume: Volume
  private let dtype: DType

  /// `.mha`, or `.mhd` with the voxels beside it. Throws: `.invalid`, `.io`, `.cancelled`.
  static func write(_ volume: Volume, to path: String, control: RunControl?) throws(MedDINOError) {
    let file = TextHeaderedFile(volume, detached: ".mhd", dataEnding: ".zraw", wrapping: .zlib)
    let writer = MetaImageWriter(volume: volume, dtype: file.dtype)
    try file.write(to: path, control: control) { dataFile throws(MedDINOError) in try writer.text(dataFile: dataFile ?? "LOCAL") }
  }

  /// The header up to the value of CompressedDataSize, and from there on.
  private func text(dataFile: String) throws(MedDINOError) -> TextHeaderedFile.Header {
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
    return .init(before: before.joined(separator: "\n"), behindSize: lines.joined(separator: "\n") + "\n")
  }

  /// MetaIO's letters name where the axes come from.
  private func acronym() throws(MedDINOError) -> String {
    let orientation = try volume.geometry.orientation()
    return String((0..<3).map { Array(orientation.isNegative[$0] ? "LPS" : "RAI")[orientation.worldAxis[$0]] })
  }

  private var type: String {
    switch dtype {
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
