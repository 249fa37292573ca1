import Platform
import WeightFiles
import Yams

/// YAML as the JSON it stands for, and back. The library reads JSON alone.
///
/// Of YAML's types there are maps with text keys, lists, texts, numbers, booleans and null. Plain scalars are numbers by YAML 1.2's core
/// schema, so that 1e-4 is a number, which YAML 1.1 has as text; `yes`, `no`, `on` and `off` are texts. Anchors and merge keys are resolved;
/// tags are those of the core schema, `!!str 5` is a text, others are refused.
enum YAMLText {
  /// A node that aliases make larger than this is refused: a few lines of aliases can stand for more than any memory.
  private static let nodeLimit = 100_000

  /// Throws: `.format` naming the file and the line.
  static func json(_ bytes: [UInt8], source: String) throws -> JSON {
    guard let text = String(validating: bytes, as: UTF8.self) else { throw MedDINOError.format("\(source): no UTF-8 text") }
    let node: Node?
    do { node = try compose(yaml: text) } catch let error as YamlError {
      let words = "\(error)".split(whereSeparator: \.isNewline).joined(separator: " ")
      throw MedDINOError.format("\(source): no YAML: \(words)")
    }
    guard let node else { return .object(JSONObject()) }
    var count = 0
    return try json(node, source: source, path: "", count: &count)
  }

  private static func json(_ node: Node, source: String, path: String, count: inout Int) throws -> JSON {
    count += 1
    guard count <= nodeLimit, path.utf8.count < 2000 else { throw MedDINOError.format("\(source): too many values, aliases counted") }
    switch node {
    case .scalar(let scalar): return try tagged(scalar) { MedDINOError.format("\(source): \(path): \($0)\(line(node))") }
    case .sequence(let list):
      try checkTag("\(list.tag)", "seq") { MedDINOError.format("\(source): \(path): \($0)\(line(node))") }
      var values: [JSON] = []
      for (index, item) in list.enumerated() { values.append(try json(item, source: source, path: "\(path)[\(index)]", count: &count)) }
      return .array(values)
    case .mapping(let map):
      try checkTag("\(map.tag)", "map") { MedDINOError.format("\(source): \(path): \($0)\(line(node))") }
      var (own, merged) = (JSONObject(), JSONObject())
      for (key, item) in map {
        guard let name = key.scalar?.string else { throw MedDINOError.format("\(source): \(path): a key that is no text\(line(key))") }
        let place = path.isEmpty ? name : path + "." + name
        let value = try json(item, source: source, path: place, count: &count)
        if name == "<<", key.scalar?.style == .plain || key.scalar?.style == .any {
          for part in value.arrayValue ?? [value] {
            guard let entries = part.objectValue?.entries else { throw MedDINOError.format("\(source): \(place) is no map\(line(key))") }
            for entry in entries where merged[entry.key] == nil { merged[entry.key] = entry.value }
          }
          continue
        }
        guard own[name] == nil else { throw MedDINOError.format("\(source): \(place) is given twice\(line(key))") }
        own[name] = value
      }
      for entry in merged.entries where own[entry.key] == nil { own[entry.key] = entry.value }
      return .object(own)
    case .alias: throw MedDINOError.format("\(source): \(path): an alias without its anchor\(line(node))")
    }
  }

  private static func line(_ node: Node) -> String { node.mark.map { " (line \($0.line))" } ?? "" }

  private static let tagPrefix = "tag:yaml.org,2002:"

  private static func checkTag(_ tag: String, _ kind: String, _ error: (String) -> MedDINOError) throws {
    guard ["", "!", tagPrefix + kind].contains(tag) else { throw error("the tag \(tag) is not supported") }
  }

  /// A scalar by its tag where it has one.
  private static func tagged(_ scalar: Node.Scalar, _ error: (String) -> MedDINOError) throws -> JSON {
    let tag = "\(scalar.tag)"
    if tag.isEmpty { return value(scalar) }
    let plain = value(Node.Scalar(scalar.string, .implicit, .plain))
    let fits: Bool
    switch tag {
    case "!", tagPrefix + "str": return .string(scalar.string)
    case tagPrefix + "int": fits = if case .integer = plain { true } else { false }
    case tagPrefix + "float":
      guard let number = plain.doubleValue else { throw error("\(scalar.string.prefix(60)) is no float") }
      return .number(number)
    case tagPrefix + "bool": fits = plain.boolValue != nil
    case tagPrefix + "null": fits = plain.isNull
    default: throw error("the tag \(tag) is not supported")
    }
    guard fits else { throw error("\(scalar.string.prefix(60)) is no \(tag.dropFirst(tagPrefix.count))") }
    return plain
  }

  private static func value(_ scalar: Node.Scalar) -> JSON {
    let text = scalar.string
    guard scalar.style == .plain || scalar.style == .any else { return .string(text) }
    switch text {
    case "", "~", "null", "Null", "NULL": return .null
    case "true", "True", "TRUE": return .bool(true)
    case "false", "False", "FALSE": return .bool(false)
    default: break
    }
    if let whole = integer(text) { return .integer(whole) }
    let isNumber = text.utf8.contains { (48...57).contains($0) } && text.utf8.allSatisfy { "+-.eE0123456789".utf8.contains($0) }
    if isNumber, let number = DecimalText.parse(text) { return .number(number) }
    return .string(text)
  }

  /// Decimal digits with a sign, or 0x and 0o.
  private static func integer(_ text: String) -> Int? {
    for (prefix, radix) in [("0x", 16), ("0o", 8)] where text.hasPrefix(prefix) { return Int(text.dropFirst(2), radix: radix) }
    return Int(text)
  }

  // MARK: writing

  /// Block style, sections indented by two, short lists in one line.
  static func text(_ json: JSON) -> String {
    guard let object = json.objectValue, !object.entries.isEmpty else { return inline(json) + "\n" }
    return block(object, indent: 0)
  }

  private static func block(_ object: JSONObject, indent: Int) -> String {
    let margin = String(repeating: " ", count: indent)
    return object.entries.map { entry -> String in
      if let inside = entry.value.objectValue, !inside.entries.isEmpty {
        return margin + scalar(entry.key) + ":\n" + block(inside, indent: indent + 2)
      }
      return margin + scalar(entry.key) + ": " + inline(entry.value) + "\n"
    }.joined()
  }

  private static func inline(_ json: JSON) -> String {
    switch json {
    case .string(let text): return scalar(text)
    case .array(let values): return "[" + values.map(inline).joined(separator: ", ") + "]"
    default: return json.standardText()
    }
  }

  /// Plain where no reader could take it for something else; otherwise as JSON writes it, which is YAML too.
  private static func scalar(_ text: String) -> String {
    let special: Set<String> = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
    let letters = text.utf8.allSatisfy { (97...122).contains($0) || (65...90).contains($0) || (48...57).contains($0) || $0 == 95 }
    let startsWithLetter = text.utf8.first.map { !(48...57).contains($0) } ?? false
    return letters && startsWithLetter && !special.contains(text.lowercased()) ? text : JSON.string(text).standardText()
  }
}
