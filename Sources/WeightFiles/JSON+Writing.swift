extension JSON {
  /// The value as text; `indent` spaces per level on lines of their own, or everything on one line when nil.
  /// NaN and infinities are written as Python does. nnU-Net's files use an indent of 4.
  public func text(indent: Int? = nil) -> String {
    var out = ""
    write(to: &out, indent: indent, level: 0)
    return out
  }

  /// The same as standard JSON, which knows no NaN and no infinities: they are null. For what other programs read.
  public func standardText(indent: Int? = nil) -> String { definedOnly.text(indent: indent) }

  private var definedOnly: JSON {
    switch self {
    case .number(let value) where !value.isFinite: .null
    case .array(let values): .array(values.map(\.definedOnly))
    case .object(let object): .object(JSONObject(object.entries.map { ($0.key, $0.value.definedOnly) }))
    default: self
    }
  }

  private func write(to out: inout String, indent: Int?, level: Int) {
    switch self {
    case .null: out += "null"
    case .bool(let value): out += value ? "true" : "false"
    case .integer(let value): out += String(value)
    case .number(let value): out += JSON.text(of: value)
    case .string(let value): out += JSON.quoted(value)
    case .array(let values):
      writeList(to: &out, "[", "]", values.count, indent, level) { out, i in values[i].write(to: &out, indent: indent, level: level + 1) }
    case .object(let object):
      writeList(to: &out, "{", "}", object.entries.count, indent, level) { out, i in
        out += JSON.quoted(object.entries[i].key) + ": "
        object.entries[i].value.write(to: &out, indent: indent, level: level + 1)
      }
    }
  }

  private func writeList(
    to out: inout String, _ open: String, _ close: String, _ count: Int, _ indent: Int?, _ level: Int,
    _ item: (inout String, Int) -> Void
  ) {
    out += open
    for i in 0..<count {
      if i > 0 { out += indent == nil ? ", " : "," }
      if let indent { out += "\n" + String(repeating: " ", count: indent * (level + 1)) }
      item(&out, i)
    }
    if let indent, count > 0 { out += "\n" + String(repeating: " ", count: indent * level) }
    out += close
  }

  private static func text(of value: Double) -> String {
    if value.isNaN { return "NaN" }
    if value.isInfinite { return value < 0 ? "-Infinity" : "Infinity" }
    return "\(value)"
  }

  private static func quoted(_ text: String) -> String {
    var out = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": out += "\\\""
      case "\\": out += "\\\\"
      case "\n": out += "\\n"
      case "\r": out += "\\r"
      case "\t": out += "\\t"
      default:
        if scalar.value < 32 {
          let digits = String(scalar.value, radix: 16)
          out += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        } else {
          out.unicodeScalars.append(scalar)
        }
      }
    }
    return out + "\""
  }
}
