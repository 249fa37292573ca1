internal import Glibc
internal import Platform
internal import Tensors

/// Changes of a colour crop with values from 0 to 1. Source: model specification 7.1.
enum ColorAugmentation {
  /// Which crop it is: the official blur class inverts its probability, so that the first global crop is never blurred.
  enum View: Sendable {
    case firstGlobal, secondGlobal, local
    var blurChance: Double {
      switch self {
      case .firstGlobal: 0
      case .secondGlobal: 0.9
      case .local: 0.5
      }
    }
    var solarizeChance: Double { self == .secondGlobal ? 0.2 : 0 }
  }
  /// Weights of red, green and blue in the brightness (ITU-R BT.601).
  private static let luma: [Float] = [0.299, 0.587, 0.114]
  private static let blurReach = 4

  /// Colour jitter and grayscale, in place. Images of one channel have brightness and contrast alone.
  static func changeColors(of image: Tensor, _ random: inout CounterRandom) {
    if random.chance(0.8) {
      let factors = (0..<3).map { Float(random.uniform((1 - [0.4, 0.4, 0.2][$0])...(1 + [0.4, 0.4, 0.2][$0]))) }
      let hue = Float(random.uniform(-0.1...0.1))
      for operation in random.permutation(4) {
        switch operation {
        case 0: blend(image, factors[0]) { _, _ in 0 }
        case 1:
          let mean = meanBrightness(image)
          blend(image, factors[1]) { _, _ in mean }
        case 2: if image.shape[0] == 3 { blend(image, factors[2]) { $0[$1] } }
        default: if image.shape[0] == 3 { turnHue(image, hue) }
        }
      }
    }
    if random.chance(0.2), image.shape[0] == 3 { blend(image, 0) { $0[$1] } }
  }

  /// Blur and solarisation of one crop, in place.
  static func distort(_ image: Tensor, _ view: View, _ random: inout CounterRandom) {
    if random.chance(view.blurChance) { blur(image, deviation: random.uniform(0.1...2)) }
    guard random.chance(view.solarizeChance) else { return }
    let (values, threshold) = (image.floats, Float(128.0 / 255))
    for index in values.indices where values[index] >= threshold { values[index] = 1 - values[index] }
    withExtendedLifetime(image) {}
  }

  /// (x − mean) / deviation per channel, in place.
  static func normalize(_ image: Tensor, mean: [Float], deviation: [Float]) {
    let (values, count) = (image.floats, image.count / max(image.shape[0], 1))
    for channel in 0..<image.shape[0] {
      for index in channel * count..<(channel + 1) * count { values[index] = (values[index] - mean[channel]) / deviation[channel] }
    }
    withExtendedLifetime(image) {}
  }

  // MARK: colours

  private static func brightness(_ image: Tensor) -> [Float] {
    let (values, channels) = (image.floats, image.shape[0])
    let count = image.count / max(channels, 1)
    if channels != 3 { return (0..<count).map { values[$0] } }
    return (0..<count).map { luma[0] * values[$0] + luma[1] * values[count + $0] + luma[2] * values[2 * count + $0] }
  }
  private static func meanBrightness(_ image: Tensor) -> Float {
    let values = brightness(image)
    return Float(values.reduce(0.0) { $0 + Double($1) } / Double(max(values.count, 1)))
  }

  /// factor · x + (1 − factor) · other, kept within 0 to 1; `other` gets the brightness of all pixels and the pixel.
  private static func blend(_ image: Tensor, _ factor: Float, _ other: ([Float], Int) -> Float) {
    let (values, gray) = (image.floats, brightness(image))
    for index in values.indices {
      values[index] = min(max(factor * values[index] + (1 - factor) * other(gray, index % gray.count), 0), 1)
    }
    withExtendedLifetime(image) {}
  }

  /// Adds a part of the circle to the hue of the HSV model.
  private static func turnHue(_ image: Tensor, _ turn: Float) {
    let (values, count) = (image.floats, image.count / 3)
    for index in 0..<count {
      let (r, g, b) = (values[index], values[count + index], values[2 * count + index])
      let (high, low) = (max(r, g, b), min(r, g, b))
      let spread = high - low
      guard spread > 0 else { continue }
      var hue: Float = high == r ? (g - b) / spread : high == g ? 2 + (b - r) / spread : 4 + (r - g) / spread
      hue += 6 * turn
      hue -= 6 * (hue / 6).rounded(.down)
      for (channel, offset) in [Float(5), 3, 1].enumerated() {
        // The HSV to RGB map in closed form: v − v s · clamp(min(k, 4 − k), 0, 1), k = (offset + hue) mod 6.
        var k = offset + hue
        if k >= 6 { k -= 6 }
        values[channel * count + index] = high - spread * max(0, min(k, 4 - k, 1))
      }
    }
    withExtendedLifetime(image) {}
  }

  // MARK: blur

  /// A 9 × 9 Gaussian, the border mirrored without repeating the edge.
  private static func blur(_ image: Tensor, deviation: Double) {
    let offsets = Array(-blurReach...blurReach)
    let raw = offsets.map { exp(-0.5 * Double($0 * $0) / (deviation * deviation)) }
    let weights = raw.map { Float($0 / raw.reduce(0, +)) }
    let (rows, columns) = (image.shape[1], image.shape[2])
    var copy = image.floatArray()
    let values = image.floats
    for channel in 0..<image.shape[0] {
      let base = channel * rows * columns
      for row in 0..<rows {
        for column in 0..<columns {
          var sum: Float = 0
          for (offset, weight) in zip(offsets, weights) {
            sum += weight * values[base + row * columns + mirrored(column + offset, columns)]
          }
          copy[base + row * columns + column] = sum
        }
      }
      for row in 0..<rows {
        for column in 0..<columns {
          var sum: Float = 0
          for (offset, weight) in zip(offsets, weights) { sum += weight * copy[base + mirrored(row + offset, rows) * columns + column] }
          values[base + row * columns + column] = sum
        }
      }
    }
    withExtendedLifetime(image) {}
  }

  private static func mirrored(_ index: Int, _ count: Int) -> Int {
    guard count > 1 else { return 0 }
    let period = 2 * (count - 1)
    let place = ((index % period) + period) % period
    return place < count ? place : period - place
  }
}
