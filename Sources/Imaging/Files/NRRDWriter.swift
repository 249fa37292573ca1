internal import Platform
internal import Tensors

/// Writes NRRD files as ITK does: LPS, channels first, compressed by gzip.
struct NRRDWriter {
  private let volume: Volume
  private let dtype: DType

  /// `.nrrd`, or `.nhdr` with the voxels beside it. Throws: `.invalid`, `.io`, `.cancelled`.
  static func write(_ volume: Volume, to path: String, control: RunControl?) throws(MedDINOError) {
    let file = TextHeaderedFile(volume, detached: ".nhdr", dataEnding: ".raw.gz", wrapping: .gzip)
    let writer = NRRDWriter(volume: volume, dtype: file.dtype)
    try file.write(to: path, control: control) { dataFile throws(MedDINOError) in .init(before: try writer.text(dataFile: dataFile)) }
  }

  private func text(dataFile: String?) throws(MedDINOError) -> String {
    let grid = WrittenGrid(volume)
    let isVector = volume.channels > 1
    func vector(_ values: [Double]) -> String { "(" + values.map(HeaderText.text).joined(separator: ",") + ")" }
    let directions = grid.directions.enumerated().map { axis, direction in vector(direction.map { $0 * grid.spacing[axis] }) }
    var lines = [
      "NRRD0004", "# Complete NRRD file format specification at:", "# http://teem.sourceforge.net/nrrd/format.html",
      "type: \(type)", "dimension: \(grid.rank + (isVector ? 1 : 0))",
      grid.rank == 3 ? "space: left-posterior-superior" : "space dimension: 2",
      "sizes: " + ((isVector ? [volume.channels] : []) + grid.dims).map(String.init).joined(separator: " "),
      "space directions: " + ((isVector ? ["none"] : []) + directions).joined(separator: " "),
      "kinds: " + ((isVector ? ["vector"] : []) + directions.map { _ in "domain" }).joined(separator: " "),
    ]
    if dtype.byteCount > 1 { lines.append("endian: little") }
    lines += ["encoding: gzip", "space origin: " + vector(grid.origin)]
    if let dataFile { lines.append("data file: \(dataFile)") } else { lines.append("") }
    return lines.joined(separator: "\n") + "\n"
  }

  private var type: String {
    switch dtype {
    case .int8: "signed char"
    case .uint8, .bool: "unsigned char"
    case .int16: "short"
    case .uint16: "unsigned short"
    case .int32: "int"
    case .uint32: "unsigned int"
    case .int64: "long long int"
    case .uint64: "unsigned long long int"
    case .float32, .float16, .bfloat16: "float"
    case .float64: "double"
    }
  }
}
