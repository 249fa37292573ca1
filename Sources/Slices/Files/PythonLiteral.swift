internal import Platform

/// A Python literal as it stands in the header of a `.npy` file: text, whole numbers, True, False, None, lists, tuples, dictionaries.
///
/// Nothing is evaluated. Source: NumPy enhancement proposal 1.
enum PythonLiteral: Equatable, Sendable {
  case none
  case bool(Bool)
  case integer(Int)
  case string(String)
  case list([PythonLiteral])
  case tuple([PythonLiteral])
  case dictionary([Entry])

  struct Entry: Equatable, Sendable {
    let key: String
    let value: PythonLiteral
  }

  /// The value of a key of a dictionary.
  subscript(key: String) -> PythonLiteral? {
    guard case .dictionary(let entries) = self else { return nil }
    return entries.first { $0.key == key }?.value
  }

  /// As Python's `repr` writes it.
  var text: String {
    func joined(_ items: [PythonLiteral]) -> String { items.map(\.text).joined(separator: ", ") }
    switch self {
    case .none: return "None"
    case .bool(let value): return value ? "True" : "False"
    case .integer(let value): return String(value)
    case .string(let value): return "'\(value)'"
    case .list(let items): return "[\(joined(items))]"
    case .tuple(let items): return items.count == 1 ? "(\(items[0].text),)" : "(\(joined(items)))"
    case .dictionary(let entries): return "{" + entries.map { "'\($0.key)': \($0.value.text), " }.joined() + "}"
    }
  }

  /// Throws: `.format` naming `source` when the text is not exactly one literal.
  static func parse(_ text: ArraySlice<UInt8>, _ source: String) throws(MedDINOError) -> PythonLiteral {
    var parser = Parser(text: text, at: text.startIndex, source: source)
    let value = try parser.value(depth: 0)
    parser.skipSpace()
    guard parser.at == text.endIndex else { throw parser.fault("text after the end of the header's dictionary") }
    return value
  }
}

private struct Parser {
  let text: ArraySlice<UInt8>
  var at: Int
  let source: String

  func fault(_ reason: String) -> MedDINOError { .format("\(source): damaged .npy header: \(reason)") }
  private var next: UInt8? { at < text.endIndex ? text[at] : nil }

  mutating func skipSpace() {
    while let byte = next, byte == 32 || byte == 10 || byte == 9 || byte == 13 { at += 1 }
  }

  mutating func value(depth: Int) throws(MedDINOError) -> PythonLiteral {
    guard depth < 8 else { throw fault("nested deeper than 8") }
    skipSpace()
    switch next {
    case nil: throw fault("it ends where a value is expected")
    case UInt8(ascii: "'"), UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "("): return .tuple(try items(closing: ")", depth))
    case UInt8(ascii: "["): return .list(try items(closing: "]", depth))
    case UInt8(ascii: "{"): return .dictionary(try entries(depth))
    default: return try word()
    }
  }

  private mutating func string() throws(MedDINOError) -> String {
    let quote = next
    at += 1
    let start = at
    while let byte = next, byte != quote {
      guard byte >= 32, byte < 127, byte != UInt8(ascii: "\\") else { throw fault("a string holds the byte \(byte)") }
      at += 1
    }
    guard next != nil else { throw fault("it ends inside a string") }
    at += 1
    return String(decoding: text[start..<at - 1], as: UTF8.self)
  }

  private mutating func items(closing: Character, _ depth: Int) throws(MedDINOError) -> [PythonLiteral] {
    at += 1
    var result: [PythonLiteral] = []
    while true {
      skipSpace()
      if next == closing.asciiValue {
        at += 1
        return result
      }
      result.append(try value(depth: depth + 1))
      try comma(or: closing)
    }
  }

  private mutating func entries(_ depth: Int) throws(MedDINOError) -> [PythonLiteral.Entry] {
    at += 1
    var result: [PythonLiteral.Entry] = []
    while true {
      skipSpace()
      if next == UInt8(ascii: "}") {
        at += 1
        return result
      }
      guard case .string(let key) = try value(depth: depth + 1) else { throw fault("a key is no string") }
      guard !result.contains(where: { $0.key == key }) else { throw fault("the key '\(key)' appears twice") }
      skipSpace()
      guard next == UInt8(ascii: ":") else { throw fault("expected ':' after '\(key)'") }
      at += 1
      result.append(.init(key: key, value: try value(depth: depth + 1)))
      try comma(or: "}")
    }
  }

  /// Passes a comma, or stands before `closing`.
  private mutating func comma(or closing: Character) throws(MedDINOError) {
    skipSpace()
    if next == UInt8(ascii: ",") {
      at += 1
    } else if next != closing.asciiValue {
      throw fault("expected ',' or '\(closing)'")
    }
  }

  private mutating func word() throws(MedDINOError) -> PythonLiteral {
    let start = at
    while let byte = next, byte == UInt8(ascii: "-") || isWordByte(byte) { at += 1 }
    let text = String(decoding: text[start..<at], as: UTF8.self)
    switch text {
    case "True": return .bool(true)
    case "False": return .bool(false)
    case "None": return .none
    default:
      guard let number = Int(text) else { throw fault("\"\(text.prefix(20))\" is no value") }
      return .integer(number)
    }
  }

  private func isWordByte(_ byte: UInt8) -> Bool { (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte) }
}
