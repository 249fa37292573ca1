/// The parts that pages are made of. Titles, names, values and lines are escaped here; heads, cells and rows are markup already.
extension HTMLText {
  static func swatch(_ colour: Colour) -> String { "<i class=\"swatch\" style=\"background:\(hex(colour))\"></i>" }

  /// Figures that are looked at first: a large value above what it is.
  static func tiles(_ list: [(value: String, name: String)]) -> String {
    let items = list.map { "<div class=\"tile\"><b>\(escaped($0.value))</b><span>\(escaped($0.name))</span></div>" }
    return "<div class=\"tiles\">\(items.joined())</div>\n"
  }

  /// `kind`: the class, "" for none.
  static func table(heads: [String], rows: String, kind: String = "") -> String {
    let head = heads.map { "<th scope=\"col\">\($0)</th>" }.joined()
    return "<div class=\"scroll\"><table\(attribute(kind))><thead><tr>\(head)</tr></thead>\n<tbody>\(rows)</tbody></table></div>\n"
  }

  /// A row of a table under the heading `head`.
  static func row(_ head: String, _ cells: String, kind: String = "") -> String {
    "<tr\(attribute(kind))><th scope=\"row\">\(head)</th>\(cells)</tr>\n"
  }

  private static func attribute(_ kind: String) -> String { kind.isEmpty ? "" : " class=\"\(kind)\"" }

  /// A section of names and values; nothing without any.
  static func settings(_ title: String, _ entries: [(name: String, value: String)]) -> String {
    if entries.isEmpty { return "" }
    let rows = entries.map { row(escaped($0.name), "<td>\(escaped($0.value))</td>") }
    return "<section><h2>\(escaped(title))</h2>\n<table class=\"settings\"><tbody>\(rows.joined())</tbody></table></section>\n"
  }

  static func list(_ lines: [String]) -> String { "<ul>\(lines.map { "<li>\(escaped($0))</li>" }.joined(separator: "\n"))</ul>\n" }

  static func legend(_ title: String, _ entries: [(name: String, colour: Colour)]) -> String {
    let items = entries.map { "<span>\(swatch($0.colour))\(escaped($0.name))</span>" }
    return "<div class=\"legend\"><b>\(escaped(title))</b>\(items.joined())</div>\n"
  }

  static func figure(_ picture: PagePicture) -> String {
    (picture.title.isEmpty ? "<figure>" : "<figure><h3>\(escaped(picture.title))</h3>")
      + "<img alt=\"\(escaped(picture.alternative))\" src=\"data:image/png;base64,\(base64(picture.png))\">"
      + "<figcaption>\(escaped(picture.caption))</figcaption></figure>\n"
  }
}
