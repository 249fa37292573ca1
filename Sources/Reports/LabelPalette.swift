internal import Glibc

/// Colours for label contours: bright enough for a dark picture, coloured enough to stand out from grey, far from each
/// other.
///
/// Deterministic, and stable: the first colours do not depend on how many are asked for.
///
/// Source: farthest-point choice in Oklab (Ottosson, "A perceptual color space for image processing", 2020).
public enum LabelPalette {
  /// How many different colours there are; a longer palette starts over.
  public static let distinct = 256

  /// `count` opaque colours.
  public static func colours(_ count: Int) -> [Colour] {
    (0..<max(0, count)).map { chosen[$0 % distinct] }
  }

  /// The colour of a label value: 1 has the first colour; 0 and below are transparent.
  public static func colour(of value: Int) -> Colour {
    value > 0 ? chosen[(value - 1) % distinct] : Colour(0, 0, 0, 0)
  }

  private static let chosen: [Colour] = {
    let candidates = makeCandidates()
    var distance = [Double](repeating: .infinity, count: candidates.count)
    var order: [Colour] = []
    var next = 0
    while order.count < distinct {
      let pick = candidates[next]
      order.append(pick.colour)
      for (index, other) in candidates.enumerated() {
        let difference = other.lab - pick.lab
        distance[index] = min(distance[index], (difference * difference).sum())
      }
      next = distance.indices.reduce(0) { distance[$1] > distance[$0] ? $1 : $0 }
    }
    return order
  }()

  /// Colours of three lightnesses and two chromas around the hue circle that exist in sRGB.
  private static func makeCandidates() -> [(colour: Colour, lab: SIMD3<Double>)] {
    var result: [(colour: Colour, lab: SIMD3<Double>)] = []
    for hue in 0..<120 {
      let angle = (Double(hue) * 3 + 29) * .pi / 180
      for lightness in [0.68, 0.60, 0.78, 0.88] {
        for chroma in [0.20, 0.15, 0.10] {
          let lab = SIMD3(lightness, chroma * cos(angle), chroma * sin(angle))
          if let colour = sRGB(lab) { result.append((colour, lab)) }
        }
      }
    }
    return result
  }

  /// Oklab to sRGB; nil outside the gamut.
  private static func sRGB(_ lab: SIMD3<Double>) -> Colour? {
    func cubed(_ a: Double, _ b: Double) -> Double {
      let root = lab.x + a * lab.y + b * lab.z
      return root * root * root
    }
    let l = cubed(0.3963377774, 0.2158037573)
    let m = cubed(-0.1055613458, -0.0638541728)
    let s = cubed(-0.0894841775, -1.2914855480)
    let red = 4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s
    let green = -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s
    let blue = -0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s
    guard min(red, green, blue) >= 0, max(red, green, blue) <= 1 else { return nil }
    func encoded(_ linear: Double) -> UInt8 {
      let value = linear <= 0.0031308 ? 12.92 * linear : 1.055 * pow(linear, 1 / 2.4) - 0.055
      return UInt8((min(max(value, 0), 1) * 255).rounded())
    }
    return Colour(encoded(red), encoded(green), encoded(blue), 255)
  }
}
