internal import Reports
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

  /// Colours for labels that bring none: those of the evaluation's pictures, so that an organ looks the same everywhere.
  static func palette(_ value: Int) -> (UInt8, UInt8, UInt8) {
    let colour = LabelPalette.colour(of: value)
    return (colour.x, colour.y, colour.z)
  }
}
