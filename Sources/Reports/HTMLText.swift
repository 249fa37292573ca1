internal import Platform

/// Pieces of HTML pages that stand alone.
enum HTMLText {
  /// Text that cannot be taken for markup, in elements and in quoted attributes. Control characters become spaces.
  static func escaped(_ text: String) -> String {
    var out = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "&": out += "&amp;"
      case "<": out += "&lt;"
      case ">": out += "&gt;"
      case "\"": out += "&quot;"
      case "'": out += "&#39;"
      default:
        if scalar.value < 32 || scalar.value == 127 { out += " " } else { out.unicodeScalars.append(scalar) }
      }
    }
    return out
  }

  /// Escaped text that may be broken behind underscores.
  static func breakable(_ text: String) -> String {
    escaped(text).split(separator: "_", omittingEmptySubsequences: false).joined(separator: "_<wbr>")
  }

  /// Source: RFC 4648, section 4.
  static func base64(_ bytes: [UInt8]) -> String {
    let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    var out: [UInt8] = []
    out.reserveCapacity((bytes.count + 2) / 3 * 4)
    for start in stride(from: 0, to: bytes.count, by: 3) {
      let count = min(3, bytes.count - start)
      var group = 0
      for index in 0..<3 { group = group << 8 | (index < count ? Int(bytes[start + index]) : 0) }
      for index in 0..<4 { out.append(index <= count ? alphabet[group >> (18 - 6 * index) & 63] : UInt8(ascii: "=")) }
    }
    return String(decoding: out, as: UTF8.self)
  }

  /// "0.913"; "–" for NaN.
  static func number(_ value: Double, _ digits: Int) -> String {
    value.isNaN ? "–" : value.isInfinite ? "∞" : DecimalText.fixed(value, digits: digits)
  }

  static func hex(_ colour: Colour) -> String {
    "#" + [colour.x, colour.y, colour.z].map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }
}
