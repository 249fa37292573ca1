internal import WeightFiles

/// One value of a label map: what it is called, how it is drawn, and its code in a terminology.
public struct ModelLabel: Equatable, Sendable {
  public var value: Int
  public var name: String
  public var red: UInt8
  public var green: UInt8
  public var blue: UInt8
  public var alpha: UInt8
  /// Such as "SCT" and "10200004"; nil where nobody said.
  public var codingScheme: String?
  public var code: String?

  public init(value: Int, name: String, color: (UInt8, UInt8, UInt8)? = nil, codingScheme: String? = nil, code: String? = nil) {
    let color = color ?? ModelLabel.palette(value)
    self.value = value
    self.name = name
    (red, green, blue) = color
    alpha = value == 0 ? 0 : 255
    self.codingScheme = codingScheme
    self.code = code
  }

  init?(_ json: JSON) {
    guard let value = json["value"]?.intValue, let name = json["name"]?.stringValue else { return nil }
    self.init(value: value, name: name, codingScheme: json["scheme"]?.stringValue, code: json["code"]?.stringValue)
    if let rgba = json["rgba"]?.arrayValue?.compactMap({ $0.intValue.flatMap { UInt8(exactly: $0) } }), rgba.count == 4 {
      (red, green, blue, alpha) = (rgba[0], rgba[1], rgba[2], rgba[3])
    }
  }

  var json: JSON {
    var object = JSONObject([
      ("value", .integer(value)), ("name", .string(name)), ("rgba", .integers([red, green, blue, alpha].map(Int.init))),
    ])
    if let codingScheme { object["scheme"] = .string(codingScheme) }
    if let code { object["code"] = .string(code) }
    return .object(object)
  }

  /// Colours for labels that bring none: hues a golden angle apart, alternating in lightness, so that neighbours differ.
  static func palette(_ value: Int) -> (UInt8, UInt8, UInt8) {
    if value == 0 { return (0, 0, 0) }
    let hue = (Double(value) * 0.618033988749895).truncatingRemainder(dividingBy: 1) * 6
    let bright = value % 2 == 0 ? 0.95 : 0.8
    let low = bright * (value % 3 == 0 ? 0.45 : 0.2)
    let fraction = hue - hue.rounded(.down)
    let (up, down) = (low + (bright - low) * fraction, bright - (bright - low) * fraction)
    let rgb: (Double, Double, Double) =
      switch Int(hue) {
      case 0: (bright, up, low)
      case 1: (down, bright, low)
      case 2: (low, bright, up)
      case 3: (low, down, bright)
      case 4: (up, low, bright)
      default: (bright, low, down)
      }
    return (UInt8(rgb.0 * 255), UInt8(rgb.1 * 255), UInt8(rgb.2 * 255))
  }
}
