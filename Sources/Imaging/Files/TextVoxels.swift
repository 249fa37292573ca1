internal import Platform
internal import Tensors

/// Voxels written as decimal numbers, with spaces, line ends or commas between them.
struct TextVoxels {
  private let file: InputFile
  private var position: Int
  private var buffer: [UInt8] = []
  private var next = 0
  private static let chunk = 1 << 18
  /// No number that a program writes is longer.
  private static let longestNumber = 400

  init(_ file: InputFile, from start: Int) {
    self.file = file
    position = start
  }

  /// Fills `target` with values of the type. Throws: `.format` when there are fewer numbers, or one does not fit the type.
  func read(
    _ dtype: DType, into target: UnsafeMutableRawBufferPointer, _ progress: (Int) throws(MedDINOError) -> Void
  ) throws(MedDINOError) {
    switch dtype {
    case .int8: try fill(target, progress, Int8.self) { whole($0) }
    case .uint8: try fill(target, progress, UInt8.self) { whole($0) }
    case .int16: try fill(target, progress, Int16.self) { whole($0) }
    case .uint16: try fill(target, progress, UInt16.self) { whole($0) }
    case .int32: try fill(target, progress, Int32.self) { whole($0) }
    case .uint32: try fill(target, progress, UInt32.self) { whole($0) }
    case .int64: try fill(target, progress, Int64.self) { whole($0) }
    case .uint64: try fill(target, progress, UInt64.self) { whole($0) }
    case .float32: try fill(target, progress, Float.self) { DecimalText.parse($0).map { Float($0) } }
    case .float64: try fill(target, progress, Double.self) { DecimalText.parse($0) }
    default: throw MedDINOError(.internal, "\(file.path): text of \(dtype)")
    }
  }

  /// "3", and "3.0" or "3e2" for whole numbers of floating point.
  private func whole<T: FixedWidthInteger>(_ text: String) -> T? {
    T(text) ?? DecimalText.parse(text).flatMap { T(exactly: $0) }
  }

  private func fill<T: BitwiseCopyable>(
    _ target: UnsafeMutableRawBufferPointer, _ progress: (Int) throws(MedDINOError) -> Void, _: T.Type, _ parse: (String) -> T?
  ) throws(MedDINOError) {
    var reader = self
    let size = MemoryLayout<T>.size
    for index in 0..<target.count / size {
      guard let word = try reader.word() else {
        throw .format("\(file.path): truncated: \(index) numbers, expected \(target.count / size)")
      }
      guard let value = parse(word) else {
        throw .format("\(file.path): number \(index) is \(HeaderText.quoted(word)), expected a value of the voxels' type")
      }
      target.storeBytes(of: value, toByteOffset: index * size, as: T.self)
      if index & 0xffff == 0xffff { try progress((index + 1) * size) }
    }
    try progress(target.count)
  }

  private mutating func word() throws(MedDINOError) -> String? {
    var word: [UInt8] = []
    while true {
      if next == buffer.count {
        buffer = try file.bytes(at: position, count: Self.chunk)
        position += buffer.count
        next = 0
        if buffer.isEmpty { return word.isEmpty ? nil : String(decoding: word, as: UTF8.self) }
      }
      let byte = buffer[next]
      next += 1
      if byte == 0x20 || byte == 0x2c || (0x09...0x0d).contains(byte) {
        if !word.isEmpty { return String(decoding: word, as: UTF8.self) }
      } else {
        word.append(byte)
        guard word.count <= Self.longestNumber else { throw .format("\(file.path): text between the voxels that is no number") }
      }
    }
  }
}
