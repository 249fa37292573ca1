/// A picture on a page.
public struct PagePicture: Sendable {
  /// The line above it; "" for none.
  public var title: String
  public var caption: String
  /// What it shows, for those who do not see it.
  public var alternative: String
  public var png: [UInt8]

  /// `alternative`: nil takes the title.
  public init(title: String, caption: String, alternative: String? = nil, png: [UInt8]) {
    self.title = title
    self.caption = caption
    self.alternative = alternative ?? title
    self.png = png
  }
}
