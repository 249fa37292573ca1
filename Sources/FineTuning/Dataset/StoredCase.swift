internal import Imaging
public import Platform
public import Segmentation
internal import Tensors
public import WeightFiles

/// A preprocessed case in a file, read part by part.
///
/// The file is a safetensors file: `data` float32 [channels, slices, rows, columns], `seg` int8 (int16 with labels above 127)
/// [1, slices, rows, columns], `locations.<key index>` int32 [count, 3] for every location key that occurs, and in the metadata,
/// under "meddino.case", the properties as JSON. Only the locations are held in memory.
public final class StoredCase: TrainingCase {
  static let metadataKey = "meddino.case"
  static let formatVersion = 1

  public let identifier: String
  public let shape: [Int]
  public let locations: [ForegroundLocations]
  /// Everything else that is known of the case: spacing and geometry of the file, crop, reader.
  public let properties: JSON
  private let file: SafeTensorsFile
  private let data: SafeTensorsFile.Entry
  private let labels: SafeTensorsFile.Entry

  /// Throws: `.io`, `.format` for a file that is none of ours, damaged, or made for other labels than `scheme`.
  public init(_ path: String, scheme: LabelScheme, in budget: MemoryBudget) throws(MedDINOError) {
    let file = try SafeTensorsFile(InputFile(path))
    properties = try Self.properties(file, path)
    guard let data = file.entry("data"), data.dtype == .float32, data.shape.rank == 4, data.shape.extents.allSatisfy({ $0 > 0 }) else {
      throw .format("\(path): data is missing or not float32 [channels, slices, rows, columns]")
    }
    let expected = [1] + data.shape.extents.dropFirst()
    guard let labels = file.entry("seg"), labels.shape.extents == expected, labels.dtype == .int8 || labels.dtype == .int16 else {
      throw .format("\(path): seg is missing or not int8 or int16 \(expected)")
    }
    guard let identifier = properties["identifier"]?.stringValue else { throw .format("\(path): its properties have no identifier") }
    self.identifier = identifier
    self.file = file
    self.data = data
    self.labels = labels
    shape = data.shape.extents
    locations = try Self.locations(file, properties, scheme, path, in: budget)
  }

  static func properties(_ file: SafeTensorsFile, _ path: String) throws(MedDINOError) -> JSON {
    guard let text = file.metadata[metadataKey] else { throw .format("\(path): is no preprocessed case") }
    let json = try JSON.parse(text, source: path)
    guard let version = json["format"]?.intValue else { throw .format("\(path): its properties have no format version") }
    guard version <= formatVersion else {
      throw .unsupported("\(path): preprocessed case of format \(version), this version reads up to \(formatVersion)")
    }
    return json
  }

  private static func locations(
    _ file: SafeTensorsFile, _ properties: JSON, _ scheme: LabelScheme, _ path: String, in budget: MemoryBudget
  ) throws(MedDINOError) -> [ForegroundLocations] {
    let stored = (properties["location_keys"]?.arrayValue ?? []).map { ($0.arrayValue ?? []).compactMap(\.intValue) }
    guard stored == scheme.locationKeys.map(\.values) else {
      throw .format("\(path): was preprocessed for other labels (\(stored)), expected \(scheme.locationKeys.map(\.values))")
    }
    let extents = file.entry("data")?.shape.extents ?? []
    var result: [ForegroundLocations] = []
    for (index, key) in scheme.locationKeys.enumerated() {
      let name = "locations.\(index)"
      guard let entry = file.entry(name) else {
        result.append(ForegroundLocations(key: key, positions: nil))
        continue
      }
      guard entry.dtype == .int32, entry.shape.rank == 2, entry.shape[0] > 0, entry.shape[1] == 3 else {
        throw .format("\(path): \(name) is \(entry.dtype) \(entry.shape), expected int32 [count, 3]")
      }
      let positions = try file.tensor(name, in: budget)
      let values = positions.elements(Int32.self)
      for place in values.indices where values[place] < 0 || Int(values[place]) >= extents[place % 3 + 1] {
        throw .format("\(path): \(name) holds \(values[place]), expected a place inside \(extents.dropFirst())")
      }
      withExtendedLifetime(positions) {}
      result.append(ForegroundLocations(key: key, positions: positions))
    }
    return result
  }

  public func readImage(
    channel: Int, slice: Int, rows: Range<Int>, columns: Range<Int>, into out: UnsafeMutablePointer<Float>
  ) throws(MedDINOError) {
    try check(channel: channel, slice: slice, rows: rows, columns: columns)
    let plane = (channel * shape[1] + slice) * shape[2]
    if columns.count == shape[3] {
      let bytes = UnsafeMutableRawBufferPointer(start: out, count: rows.count * shape[3] * 4)
      return try file.source.read(at: data.offset + (plane + rows.lowerBound) * shape[3] * 4, into: bytes)
    }
    for (index, row) in rows.enumerated() {
      let bytes = UnsafeMutableRawBufferPointer(start: out + index * columns.count, count: columns.count * 4)
      try file.source.read(at: data.offset + ((plane + row) * shape[3] + columns.lowerBound) * 4, into: bytes)
    }
  }

  public func readLabels(
    slice: Int, rows: Range<Int>, columns: Range<Int>, into out: UnsafeMutablePointer<Int16>
  ) throws(MedDINOError) {
    try check(channel: 0, slice: slice, rows: rows, columns: columns)
    let size = labels.dtype.byteCount
    for (index, row) in rows.enumerated() {
      let line = out + index * columns.count
      let bytes = UnsafeMutableRawBufferPointer(start: line, count: columns.count * size)
      try file.source.read(at: labels.offset + ((slice * shape[2] + row) * shape[3] + columns.lowerBound) * size, into: bytes)
      guard size == 1 else { continue }
      // The bytes fill the first half of the line: widen them from its end.
      for column in stride(from: columns.count - 1, through: 0, by: -1) {
        line[column] = Int16(bytes.loadUnaligned(fromByteOffset: column, as: Int8.self))
      }
    }
  }
}
