internal import Platform

/// The lines of a text header, one after the other, from the start of a file.
///
/// A line ends with a line feed, or a carriage return and a line feed; the last one also with the file. What a header may be long is
/// limited, so that a file of another kind is not read to its end in search of one.
final class HeaderLines {
  static let longestLine = 1 << 20
  static let longestHeader = 16 << 20
  private static let chunk = 1 << 16

  let file: InputFile
  /// Of the byte behind the last line that `next` returned.
  private(set) var position = 0
  private var buffer: [UInt8] = []
  private var bufferStart = 0

  init(_ file: InputFile) { self.file = file }

  /// nil at the end of the file. Throws: `.format` for a line or header that is too long, `.io`.
  func next() throws(MedDINOError) -> String? {
    guard position < file.size else { return nil }
    var line: [UInt8] = []
    while position < file.size {
      if position >= bufferStart + buffer.count {
        bufferStart = position
        buffer = try file.bytes(at: position, count: Self.chunk)
      }
      let rest = buffer[(position - bufferStart)...]
      let end = rest.firstIndex(of: 0x0a)
      line += rest[..<(end ?? rest.endIndex)]
      position = bufferStart + (end.map { $0 + 1 } ?? rest.endIndex)
      guard line.count <= Self.longestLine else {
        throw .format("\(file.path): a line of the header is longer than \(Self.longestLine) bytes")
      }
      guard position <= Self.longestHeader else {
        throw .format("\(file.path): no end of the header within \(Self.longestHeader) bytes")
      }
      if end != nil { break }
    }
    if line.last == 0x0d { line.removeLast() }
    return String(decoding: line, as: UTF8.self)
  }
}

/// Reading what stands in the lines of a header.
enum HeaderText {
  static func isSpace(_ character: Character) -> Bool { character == " " || character == "\t" || character == "\r" }

  static func trimmed(_ text: some StringProtocol) -> String {
    var rest = Substring(text)
    while let first = rest.first, isSpace(first) { rest.removeFirst() }
    while let last = rest.last, isSpace(last) { rest.removeLast() }
    return String(rest)
  }

  static func words(_ text: String) -> [String] { text.split(whereSeparator: isSpace).map(String.init) }

  /// Text of a file for a message: one line, cut.
  static func quoted(_ text: some StringProtocol) -> String {
    let shown = text.unicodeScalars.prefix(60).map { $0.value < 32 || $0.value == 127 ? "?" : Character($0) }
    return "\"" + String(shown) + (text.unicodeScalars.count > 60 ? "…\"" : "\"")
  }

  /// As many numbers as wanted. Throws: `.format` naming the field.
  static func reals(_ text: String, count: Int, _ field: String) throws(MedDINOError) -> [Double] {
    let words = words(text)
    let numbers = words.compactMap(DecimalText.parse)
    guard words.count == count, numbers.count == count else {
      throw .format("\(field) is \(quoted(text)), expected \(count) number\(count == 1 ? "" : "s")")
    }
    return numbers
  }

  /// Throws: `.format` naming the field.
  static func integer(_ text: String, _ field: String) throws(MedDINOError) -> Int {
    guard let number = Int(text) else { throw .format("\(field) is \(quoted(text)), expected a whole number") }
    return number
  }

  /// Extents of axes, each 1 to 2147483647. Throws: `.format` naming the field.
  static func extents(_ text: String, count: Int, _ field: String) throws(MedDINOError) -> [Int] {
    let words = words(text)
    let numbers = words.compactMap { Int($0) }
    guard words.count == count, numbers.count == count, numbers.allSatisfy({ (1...Int(Int32.max)).contains($0) }) else {
      throw .format("\(field) is \(quoted(text)), expected \(count) whole number\(count == 1 ? "" : "s") in 1...2147483647")
    }
    return numbers
  }

  /// A number as headers write it: the shortest text that reads back as the same value.
  static func text(_ value: Double) -> String {
    if value == value.rounded(), value.magnitude < 1e15 { return String(Int(value)) }
    return "\(value)"
  }
}
