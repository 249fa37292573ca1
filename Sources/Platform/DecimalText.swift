/// Numbers as text without the C library's locale: `strtod` and `printf` follow `setlocale` of the host.
public enum DecimalText {
  /// A JSON or plain decimal number; nil when the text is not exactly one.
  public static func parse(_ text: some StringProtocol) -> Double? { Double(text) }

  /// `digits` places after the point, rounded half away from zero: "3.50".
  public static func fixed(_ value: Double, digits: Int) -> String {
    guard value.isFinite else { return value.isNaN ? "nan" : value < 0 ? "-inf" : "inf" }
    var scale = 1.0
    for _ in 0..<digits { scale *= 10 }
    let scaled = (value.magnitude * scale).rounded()
    guard scaled < 9e15 else { return "\(value)" }
    let whole = Int(scaled)
    let sign = value < 0 && whole != 0 ? "-" : ""
    guard digits > 0 else { return sign + String(whole) }
    let unit = Int(scale)
    let fraction = String(whole % unit)
    return sign + String(whole / unit) + "." + String(repeating: "0", count: digits - fraction.count) + fraction
  }
}
