public import Platform
public import Tensors

/// A safetensors file: a JSON header that names tensors, then their bytes without gaps.
///
/// Everything the header says is checked against the file's length before anything is allocated.
/// Source: the format's specification (8-byte little-endian header length, header, data).
public final class SafeTensorsFile: Sendable {
  public struct Entry: Sendable {
    public let dtype: DType
    public let shape: Shape
    public let offset: Int
    public let byteCount: Int
  }
  public let source: any ByteSource
  /// In the order of their data.
  public let names: [String]
  public let metadata: [String: String]
  private let entries: [String: Entry]
  static let headerLimit = 100 << 20
  /// The memory that names and entries take.
  private let charge: MemoryCharge

  /// `budget`: what the header makes counts against it.
  /// Throws: `.format` for anything that is not a whole, consistent safetensors file, `.io`, `.outOfMemory`.
  public init(_ source: any ByteSource, in budget: MemoryBudget = MemoryBudget()) throws(MedDINOError) {
    self.source = source
    let lengthBytes = try source.bytes(at: 0, count: 8)
    let length = lengthBytes.enumerated().reduce(UInt64(0)) { $0 | UInt64($1.element) << (8 * UInt64($1.offset)) }
    guard length >= 2, length <= Self.headerLimit, Int(length) <= source.size - 8 else {
      throw .format("\(source.name): not a safetensors file, or truncated: header of \(length) bytes in a file of \(source.size)")
    }
    let parsing = MemoryCharge(budget, "parsed header of \(source.name)")
    try parsing.grow(by: JSON.largestGrowth * Int(length))
    charge = MemoryCharge(budget, "header of \(source.name)")
    try charge.grow(by: 4 * Int(length))
    let header = try JSON.parse(try source.bytes(at: 8, count: Int(length)), source: source.name, uniqueKeys: true)
    guard let object = header.objectValue else { throw .format("\(source.name): the header is not an object") }
    let start = 8 + Int(length)
    var entries: [String: Entry] = [:]
    var metadata: [String: String] = [:]
    for (name, value) in object.entries {
      if name == "__metadata__" {
        metadata = try Self.metadata(value, source)
      } else {
        entries[name] = try Self.entry(name, value, start: start, source: source)
      }
    }
    // An empty tensor comes before the one whose data begins at the same place.
    let places = object.keys.enumerated().compactMap { place, name in
      entries[name].map { (offset: $0.offset, size: $0.byteCount, place: place, name: name) }
    }
    names = places.sorted { ($0.offset, $0.size, $0.place) < ($1.offset, $1.size, $1.place) }.map(\.name)
    self.entries = entries
    self.metadata = metadata
    try Self.checkContiguous(names.compactMap { entries[$0] }, start: start, source: source)
    withExtendedLifetime(parsing) {}
  }

  private static func metadata(_ value: JSON, _ source: any ByteSource) throws(MedDINOError) -> [String: String] {
    var metadata: [String: String] = [:]
    guard let object = value.objectValue else { throw .format("\(source.name): __metadata__ is not an object") }
    for (key, value) in object.entries {
      guard let text = value.stringValue else { throw .format("\(source.name): __metadata__ \"\(key)\" is not a text") }
      metadata[key] = text
    }
    return metadata
  }

  private static func entry(_ name: String, _ value: JSON, start: Int, source: any ByteSource) throws(MedDINOError) -> Entry {
    let what = "\(source.name): tensor \"\(name)\""
    guard let code = value["dtype"]?.stringValue, let dtype = safeTensorsTypes[code] else {
      throw .format("\(what): unknown dtype \(value["dtype"]?.text() ?? "(none)")")
    }
    let extents = value["shape"]?.arrayValue ?? []
    let shape = Shape(extents.compactMap(\.intValue))
    guard value["shape"]?.arrayValue != nil, shape.rank == extents.count, shape.rank <= 32 else { throw .format("\(what): bad shape") }
    guard let offsets = value["data_offsets"]?.arrayValue, offsets.count == 2,
      let begin = offsets[0].intValue, let end = offsets[1].intValue, begin >= 0, begin <= end, end <= source.size - start
    else { throw .format("\(what): its data lies outside the file") }
    let bytes = try Checked.product([try shape.checkedCount(what), dtype.byteCount], what)
    guard bytes == end - begin else { throw .format("\(what): \(end - begin) bytes, its shape \(shape) needs \(bytes)") }
    return Entry(dtype: dtype, shape: shape, offset: start + begin, byteCount: bytes)
  }

  private static func checkContiguous(_ entries: [Entry], start: Int, source: any ByteSource) throws(MedDINOError) {
    var expected = start
    for entry in entries {
      guard entry.offset == expected else { throw .format("\(source.name): tensors overlap or leave a gap at byte \(expected)") }
      expected += entry.byteCount
    }
    guard expected == source.size else { throw .format("\(source.name): \(source.size - expected) bytes belong to no tensor") }
  }

  public func entry(_ name: String) -> Entry? { entries[name] }
  public func shape(of name: String) -> Shape? { entries[name]?.shape }
  public func dtype(of name: String) -> DType? { entries[name]?.dtype }

  /// The tensor in its stored type. Throws: `.format` for an unknown name, `.outOfMemory`, `.io`.
  public func tensor(_ name: String, in budget: MemoryBudget) throws(MedDINOError) -> Tensor {
    guard let entry = entries[name] else { throw .format("\(source.name): no tensor \"\(name)\"") }
    let tensor = try Tensor(entry.shape, entry.dtype, in: budget, name)
    try source.read(at: entry.offset, into: tensor.bytes)
    return tensor
  }
}

let safeTensorsTypes: [String: DType] = [
  "F64": .float64, "F32": .float32, "F16": .float16, "BF16": .bfloat16, "I64": .int64, "I32": .int32, "I16": .int16, "I8": .int8,
  "U64": .uint64, "U32": .uint32, "U16": .uint16, "U8": .uint8, "BOOL": .bool,
]
