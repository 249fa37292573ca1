public import Platform

extension JSON {
  /// Reads one JSON text. Besides the standard, `NaN`, `Infinity` and `-Infinity` are numbers, as Python writes them.
  ///
  /// `uniqueKeys`: a repeated key is a fault instead of replacing the earlier value.
  /// Throws: `.format` with the line of the fault.
  public static func parse(_ bytes: [UInt8], source: String, uniqueKeys: Bool = false) throws(MedDINOError) -> JSON {
    var parser = JSONParser(bytes: bytes, source: source, uniqueKeys: uniqueKeys)
    return try parser.document()
  }
  public static func parse(_ text: String, source: String) throws(MedDINOError) -> JSON {
    try parse(Array(text.utf8), source: source)
  }
}

private struct JSONParser {
  /// Deeper nesting is refused: every level costs stack.
  static let depthLimit = 128
  let bytes: [UInt8]
  let source: String
  let uniqueKeys: Bool
  var at = 0

  init(bytes: [UInt8], source: String, uniqueKeys: Bool) {
    self.bytes = bytes
    self.source = source
    self.uniqueKeys = uniqueKeys
    if bytes.starts(with: [0xef, 0xbb, 0xbf]) { at = 3 }
  }

  func fault(_ reason: String) -> MedDINOError {
    let line = bytes.prefix(at).reduce(1) { $0 + ($1 == 10 ? 1 : 0) }
    return .format("\(source): line \(line): \(reason)")
  }

  mutating func document() throws(MedDINOError) -> JSON {
    let value = try value(depth: 0)
    skipSpace()
    guard at == bytes.count else { throw fault("text after the end of the JSON value") }
    return value
  }

  mutating func skipSpace() {
    while let byte = next, byte == 32 || byte == 10 || byte == 9 || byte == 13 { at += 1 }
  }
  var next: UInt8? { at < bytes.count ? bytes[at] : nil }

  mutating func literal(_ word: StaticString, _ value: JSON) throws(MedDINOError) -> JSON {
    let count = word.utf8CodeUnitCount
    let matches = at + count <= bytes.count && (0..<count).allSatisfy { bytes[at + $0] == word.utf8Start[$0] }
    guard matches else { throw fault("unexpected text, expected \(word)") }
    at += count
    return value
  }

  mutating func value(depth: Int) throws(MedDINOError) -> JSON {
    guard depth < Self.depthLimit else { throw fault("nested deeper than \(Self.depthLimit)") }
    skipSpace()
    switch next {
    case nil: throw fault("the text ends where a value is expected")
    case UInt8(ascii: "{"): return try object(depth: depth)
    case UInt8(ascii: "["): return try array(depth: depth)
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"): return try literal("true", .bool(true))
    case UInt8(ascii: "f"): return try literal("false", .bool(false))
    case UInt8(ascii: "n"): return try literal("null", .null)
    case UInt8(ascii: "N"): return try literal("NaN", .number(.nan))
    case UInt8(ascii: "I"): return try literal("Infinity", .number(.infinity))
    default: return try number()
    }
  }

  mutating func object(depth: Int) throws(MedDINOError) -> JSON {
    at += 1
    var result = JSONObject()
    skipSpace()
    if next == UInt8(ascii: "}") {
      at += 1
      return .object(result)
    }
    while true {
      skipSpace()
      guard next == UInt8(ascii: "\"") else { throw fault("expected a key in quotes") }
      let key = try string()
      skipSpace()
      guard next == UInt8(ascii: ":") else { throw fault("expected ':' after the key \"\(key)\"") }
      at += 1
      if uniqueKeys, result[key] != nil { throw fault("the key \"\(key)\" appears twice") }
      result[key] = try value(depth: depth + 1)
      if try endOfList(UInt8(ascii: "}")) { return .object(result) }
    }
  }

  mutating func array(depth: Int) throws(MedDINOError) -> JSON {
    at += 1
    var result: [JSON] = []
    skipSpace()
    if next == UInt8(ascii: "]") {
      at += 1
      return .array(result)
    }
    while true {
      result.append(try value(depth: depth + 1))
      if try endOfList(UInt8(ascii: "]")) { return .array(result) }
    }
  }

  private mutating func endOfList(_ closing: UInt8) throws(MedDINOError) -> Bool {
    skipSpace()
    guard let byte = next, byte == closing || byte == UInt8(ascii: ",") else {
      throw fault("expected ',' or '\(Character(UnicodeScalar(closing)))'")
    }
    at += 1
    return byte == closing
  }

  mutating func number() throws(MedDINOError) -> JSON {
    let start = at
    if next == UInt8(ascii: "-") {
      at += 1
      if next == UInt8(ascii: "I") { return try literal("Infinity", .number(-.infinity)) }
    }
    var isInteger = true
    while let byte = next {
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): break
      case UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E"), UInt8(ascii: "+"), UInt8(ascii: "-"): isInteger = false
      default:
        return try finish(start, isInteger)
      }
      at += 1
    }
    return try finish(start, isInteger)
  }
  private func finish(_ start: Int, _ isInteger: Bool) throws(MedDINOError) -> JSON {
    let text = String(decoding: bytes[start..<at], as: UTF8.self)
    if Self.isNumber(bytes[start..<at]), isInteger, let value = Int(text) { return .integer(value) }
    guard Self.isNumber(bytes[start..<at]), text.utf8.count <= 400, let value = Double(text) else {
      throw fault("\"\(text.prefix(40))\" is no value")
    }
    return .number(value)
  }

  /// -? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?
  private static func isNumber(_ text: ArraySlice<UInt8>) -> Bool {
    var rest = text
    func digits(_ rest: inout ArraySlice<UInt8>) -> Int {
      let count = rest.prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }.count
      rest = rest.dropFirst(count)
      return count
    }
    if rest.first == UInt8(ascii: "-") { rest = rest.dropFirst() }
    let leadingZero = rest.first == UInt8(ascii: "0")
    let whole = digits(&rest)
    guard whole == 1 || whole > 1 && !leadingZero else { return false }
    if rest.first == UInt8(ascii: ".") {
      rest = rest.dropFirst()
      guard digits(&rest) > 0 else { return false }
    }
    if let mark = rest.first, mark | 0x20 == UInt8(ascii: "e") {
      rest = rest.dropFirst()
      if let sign = rest.first, sign == UInt8(ascii: "+") || sign == UInt8(ascii: "-") { rest = rest.dropFirst() }
      guard digits(&rest) > 0 else { return false }
    }
    return rest.isEmpty
  }

  mutating func string() throws(MedDINOError) -> String {
    at += 1
    var text: [UInt8] = []
    while let byte = next {
      at += 1
      switch byte {
      case UInt8(ascii: "\""):
        guard let result = String(validating: text, as: UTF8.self) else { throw fault("a string is not valid UTF-8") }
        return result
      case UInt8(ascii: "\\"): try escape(&text)
      case 0..<32: throw fault("a control character inside a string")
      default: text.append(byte)
      }
    }
    throw fault("the text ends inside a string")
  }

  private mutating func escape(_ text: inout [UInt8]) throws(MedDINOError) {
    guard let byte = next else { throw fault("the text ends inside a string") }
    at += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(byte)
    case UInt8(ascii: "b"): text.append(8)
    case UInt8(ascii: "f"): text.append(12)
    case UInt8(ascii: "n"): text.append(10)
    case UInt8(ascii: "r"): text.append(13)
    case UInt8(ascii: "t"): text.append(9)
    case UInt8(ascii: "u"):
      var code = try hexadecimal()
      if (0xd800..<0xdc00).contains(code), at + 1 < bytes.count, bytes[at] == UInt8(ascii: "\\"), bytes[at + 1] == UInt8(ascii: "u") {
        at += 2
        let low = try hexadecimal()
        guard (0xdc00..<0xe000).contains(low) else { throw fault("a \\u escape is half of a surrogate pair") }
        code = 0x10000 + (code - 0xd800) << 10 + (low - 0xdc00)
      }
      guard let scalar = UnicodeScalar(code) else { throw fault("a \\u escape is half of a surrogate pair") }
      text.append(contentsOf: Array(String(Character(scalar)).utf8))
    default: throw fault("unknown escape in a string")
    }
  }

  private mutating func hexadecimal() throws(MedDINOError) -> UInt32 {
    guard at + 4 <= bytes.count, bytes[at] != UInt8(ascii: "+"), bytes[at] != UInt8(ascii: "-"),
      let value = UInt32(String(decoding: bytes[at..<at + 4], as: UTF8.self), radix: 16)
    else {
      throw fault("a \\u escape needs four hexadecimal digits")
    }
    at += 4
    return value
  }
}
