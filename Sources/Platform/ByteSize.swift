/// "8G", "500M", "1000" in bytes, K to T being powers of 1024; nil for what is no size above 0.
public func byteSize(_ text: String) -> Int? {
  let units: [(Character, Int)] = [("K", 1 << 10), ("M", 1 << 20), ("G", 1 << 30), ("T", 1 << 40)]
  let unit = units.first { text.uppercased().last == $0.0 }
  let digits = unit == nil ? text : String(text.dropLast())
  guard let value = Double(digits), value > 0, value * Double(unit?.1 ?? 1) < 9e18 else { return nil }
  return Int(value * Double(unit?.1 ?? 1))
}
