public import Platform

/// Red, green, blue, alpha, each 0 to 255.
public typealias Colour = SIMD4<UInt8>

/// A picture in memory (8-bit RGB, rows from the top) with the few drawing operations that our sheets need.
///
/// Everything drawn outside the picture is cut off. Coordinates are pixels; alpha blends with what is there.
public final class Canvas {
  public let width: Int
  public let height: Int
  private let buffer: Buffer
  private let pixels: UnsafeMutablePointer<UInt8>

  /// Throws: `.invalid` when a side is outside 1...65535, `.outOfMemory`.
  public init(width: Int, height: Int, background: Colour = Colour(0, 0, 0, 255), in budget: MemoryBudget)
    throws(MedDINOError)
  {
    guard (1...PNG.maximumSide).contains(width), (1...PNG.maximumSide).contains(height) else {
      throw .invalid("canvas is \(width)x\(height) pixels, expected sides of 1 to \(PNG.maximumSide)")
    }
    self.width = width
    self.height = height
    buffer = try budget.allocate(width * height * 3, "canvas")
    pixels = buffer.pointer.bindMemory(to: UInt8.self, capacity: width * height * 3)
    for index in 0..<width * height { store(background, at: pixels + index * 3) }
  }

  /// The pixel at (x, y), alpha 255; black outside the picture.
  public func colour(_ x: Int, _ y: Int) -> Colour {
    guard (0..<width).contains(x), (0..<height).contains(y) else { return Colour(0, 0, 0, 255) }
    let at = pixels + (y * width + x) * 3
    return Colour(at[0], at[1], at[2], 255)
  }

  public func plot(_ x: Int, _ y: Int, _ colour: Colour) {
    guard (0..<width).contains(x), (0..<height).contains(y) else { return }
    blend(colour, at: pixels + (y * width + x) * 3)
  }

  /// Fills the rectangle whose upper left pixel is (x, y).
  public func fill(x: Int, y: Int, width: Int, height: Int, _ colour: Colour) {
    let columns = clipped(x, width, to: self.width)
    for row in clipped(y, height, to: self.height) {
      for column in columns { blend(colour, at: pixels + (row * self.width + column) * 3) }
    }
  }

  /// The one pixel wide border of the rectangle whose upper left pixel is (x, y).
  public func frame(x: Int, y: Int, width: Int, height: Int, _ colour: Colour) {
    guard width > 0, height > 0 else { return }
    fill(x: x, y: y, width: width, height: 1, colour)
    if height > 1 { fill(x: x, y: y &+ height &- 1, width: width, height: 1, colour) }
    guard height > 2 else { return }
    fill(x: x, y: y &+ 1, width: 1, height: height - 2, colour)
    if width > 1 { fill(x: x &+ width &- 1, y: y &+ 1, width: 1, height: height - 2, colour) }
  }

  /// A one pixel wide line, both ends included. Source: Bresenham (1965).
  public func line(from start: (x: Int, y: Int), to end: (x: Int, y: Int), _ colour: Colour) {
    let far = 1 << 20
    func near(_ value: Int) -> Int { min(max(value, -far), far) }
    var (x, y) = (near(start.x), near(start.y))
    let (endX, endY) = (near(end.x), near(end.y))
    let (dx, dy) = (abs(endX - x), -abs(endY - y))
    let (stepX, stepY) = (x < endX ? 1 : -1, y < endY ? 1 : -1)
    var error = dx + dy
    while true {
      plot(x, y, colour)
      if x == endX, y == endY { return }
      let twice = 2 * error
      if twice >= dy {
        error += dy
        x += stepX
      }
      if twice <= dx {
        error += dx
        y += stepY
      }
    }
  }

  /// One line of text; (x, y) is the upper left corner, `scale` the side of a font pixel.
  public func text(_ text: String, x: Int, y: Int, scale: Int = 1, _ colour: Colour) {
    guard (1...64).contains(scale), abs(x / 2) < 1 << 30, abs(y / 2) < 1 << 30 else { return }
    var left = x
    for scalar in text.unicodeScalars {
      if left >= width { return }
      for (row, bits) in BitmapFont.rows(UInt8(exactly: scalar.value) ?? 63).enumerated() where bits != 0 {
        for column in 0..<BitmapFont.width where bits & (0x10 >> UInt8(column)) != 0 {
          fill(x: left + column * scale, y: y + row * scale, width: scale, height: scale, colour)
        }
      }
      left += BitmapFont.advance * scale
    }
  }

  /// Width and height in pixels of one line of text, without the rows below the baseline.
  public static func textSize(_ text: String, scale: Int = 1) -> (width: Int, height: Int) {
    (BitmapFont.width(of: text) * scale, BitmapFont.ascent * scale)
  }

  /// Throws: `.io`, `.outOfMemory`.
  public func writePNG(to path: String, in budget: MemoryBudget) throws(MedDINOError) {
    try PNG.write(
      UnsafeRawBufferPointer(buffer.bytes), width: width, height: height, format: .rgb, to: path, in: budget)
  }

  /// The same in memory. Throws: `.outOfMemory`.
  public func pngBytes(in budget: MemoryBudget) throws(MedDINOError) -> [UInt8] {
    try PNG.bytes(UnsafeRawBufferPointer(buffer.bytes), width: width, height: height, format: .rgb, in: budget)
  }

  private func clipped(_ start: Int, _ count: Int, to limit: Int) -> Range<Int> {
    let (sum, overflow) = start.addingReportingOverflow(max(count, 0))
    let begin = min(max(start, 0), limit)
    return begin..<max(begin, min(overflow ? limit : sum, limit))
  }

  @inline(__always) private func store(_ colour: Colour, at pixel: UnsafeMutablePointer<UInt8>) {
    pixel[0] = colour.x
    pixel[1] = colour.y
    pixel[2] = colour.z
  }

  @inline(__always) private func blend(_ colour: Colour, at pixel: UnsafeMutablePointer<UInt8>) {
    if colour.w == 255 { return store(colour, at: pixel) }
    let alpha = Int(colour.w)
    func mixed(_ new: UInt8, _ old: UInt8) -> UInt8 {
      UInt8(truncatingIfNeeded: (Int(new) * alpha + Int(old) * (255 - alpha) + 127) / 255)
    }
    store(Colour(mixed(colour.x, pixel[0]), mixed(colour.y, pixel[1]), mixed(colour.z, pixel[2]), 255), at: pixel)
  }
}
