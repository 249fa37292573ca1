import Testing

/// What every page must keep: elements that nest, text for pictures, headings for tables, nothing loaded from elsewhere.
func expectSoundPage(_ html: String) throws {
  #expect(html.hasPrefix("<!DOCTYPE html>\n<html lang=\"en\">"))
  for part in ["<meta charset=\"utf-8\">", "default-src 'none'", "@media print", "<title>"] { #expect(html.contains(part), "\(part)") }
  for part in ["http://", "https://", "<link", "<script", "@import", "url(", "src=\"//"] { #expect(!html.contains(part), "\(part)") }
  #expect(html.ranges(of: "src=\"").count == html.ranges(of: "src=\"data:image/png;base64,").count)
  var open: [String] = []
  var rest = Substring(html)
  while let start = rest.firstIndex(of: "<") {
    let end = try #require(rest[start...].firstIndex(of: ">"), "a tag that does not end")
    let tag = rest[rest.index(after: start)..<end]
    rest = rest[rest.index(after: end)...]
    try #require(!tag.contains("<"), "a tag within <\(tag)>")
    if tag.hasPrefix("!") { continue }
    let name = String(tag.drop { $0 == "/" }.prefix { !" /".contains($0) })
    #expect(tag.split(separator: "\"", omittingEmptySubsequences: false).count % 2 == 1, "quotes of <\(tag)>")
    if tag.hasPrefix("/") {
      let last = open.popLast()
      try #require(last == name, "</\(name)> closes <\(last ?? "nothing")>")
    } else if !["meta", "img", "br", "wbr"].contains(name), !tag.hasSuffix("/") {
      open.append(name)
    }
    switch name {
    case "img": #expect(tag.contains("alt=\"") && !tag.contains("alt=\"\""))
    case "th" where !tag.hasPrefix("/"): #expect(tag.contains("scope="))
    default: break
    }
  }
  #expect(open.isEmpty)
}
