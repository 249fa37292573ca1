internal import Glibc
public import Platform
public import Tensors

/// One draw of the training-time coordinate augmentation, shared by a whole batch. Source: model specification 1.3.
public struct RopeAugmentation: Sendable {
  /// Added to the coordinates (y, x).
  public var shift: (y: Float, x: Float)?
  /// Factors of the coordinates (y, x): exp(u), u in ±ln(jitter), per axis.
  public var jitter: (y: Float, x: Float)?
  /// One factor of both coordinates.
  public var rescale: Float?
  public init(shift: (y: Float, x: Float)? = nil, jitter: (y: Float, x: Float)? = nil, rescale: Float? = nil) {
    self.shift = shift
    self.jitter = jitter
    self.rescale = rescale
  }
}

/// The sine and cosine tables of a patch grid.
///
/// Angles are 2π · coordinate / period: headDim/4 of the row coordinate, then headDim/4 of the column, then both repeated.
/// In bfloat16 every elementary operation is rounded; 2π itself is a float32. Source: model specification 1.3.
public enum RopeTables {
  /// The periods of a configuration [headDim / 4], rounded to bfloat16 when that is the RoPE's precision.
  public static func periods(_ configuration: EncoderConfiguration) -> [Float] {
    let quarter = configuration.headDim / 4
    let values: [Float] = (0..<quarter).map { j in
      switch configuration.ropePeriods {
      case .base(let base):
        let exponent = Float(2 * j) / Float(configuration.headDim / 2)
        return powf(Float(base), exponent)
      case .range(let low, let high):
        let ratio = Float(high / low)
        let exponent = linspace01(j, quarter)
        return Float(high) * (powf(ratio, exponent) / ratio)
      }
    }
    return configuration.ropePrecision == .bfloat16 ? values.map(roundedToBFloat16) : values
  }

  /// float32 linspace(0, 1, n): counted from the nearer end. Source: model specification 7.2.
  private static func linspace01(_ index: Int, _ count: Int) -> Float {
    if count <= 1 { return 0 }
    let step = 1 / Float(count - 1)
    return index < count / 2 ? step * Float(index) : 1 - step * Float(count - 1 - index)
  }

  /// Shapes: sine and cosine [rows * columns, headDim].
  public static func make(
    rows: Int, columns: Int, periods: [Float], configuration: EncoderConfiguration, augmentation: RopeAugmentation? = nil,
    in budget: MemoryBudget
  ) throws(MedDINOError) -> RopeTable {
    let rounding = configuration.ropePrecision == .bfloat16
    let round: (Float) -> Float = rounding ? { roundedToBFloat16($0) } : { $0 }
    let divisors: (Int, Int) =
      switch configuration.coordinateNormalization {
      case .separate: (rows, columns)
      case .max: (Swift.max(rows, columns), Swift.max(rows, columns))
      case .min: (Swift.min(rows, columns), Swift.min(rows, columns))
      }
    let y = coordinates(rows, divisors.0, round, augmentation, \.shift?.y, \.jitter?.y)
    let x = coordinates(columns, divisors.1, round, augmentation, \.shift?.x, \.jitter?.x)
    let d = configuration.headDim
    let sine = try Tensor([rows * columns, d], in: budget, "rope sine")
    let cosine = try Tensor([rows * columns, d], in: budget, "rope cosine")
    let (yAngles, xAngles) = (angles(y, periods, round), angles(x, periods, round))
    let quarter = d / 4
    let (s, c) = (sine.floats, cosine.floats)
    for row in 0..<rows {
      for column in 0..<columns {
        let base = (row * columns + column) * d
        for j in 0..<quarter {
          let (ay, ax) = (yAngles[row * quarter + j], xAngles[column * quarter + j])
          for half in [0, d / 2] {
            s[base + half + j] = ay.sine
            c[base + half + j] = ay.cosine
            s[base + half + quarter + j] = ax.sine
            c[base + half + quarter + j] = ax.cosine
          }
        }
      }
    }
    return RopeTable(sine: sine, cosine: cosine, roundsToBFloat16: rounding)
  }

  private static func coordinates(
    _ count: Int, _ divisor: Int, _ round: (Float) -> Float, _ augmentation: RopeAugmentation?,
    _ shift: (RopeAugmentation) -> Float?, _ jitter: (RopeAugmentation) -> Float?
  ) -> [Float] {
    (0..<count).map { k in
      var value = round(round(Float(k) + 0.5) / Float(divisor))
      value = round(round(2 * value) - 1)
      guard let augmentation else { return value }
      if let shift = shift(augmentation) { value = round(value + shift) }
      if let jitter = jitter(augmentation) { value = round(value * jitter) }
      if let rescale = augmentation.rescale { value = round(value * rescale) }
      return value
    }
  }

  /// Sine and cosine of 2π · coordinate / period: [coordinates * periods].
  private static func angles(_ coordinates: [Float], _ periods: [Float], _ round: (Float) -> Float) -> [(sine: Float, cosine: Float)] {
    let turn = Float(6.2831855)
    var result: [(sine: Float, cosine: Float)] = []
    result.reserveCapacity(coordinates.count * periods.count)
    for coordinate in coordinates {
      let t = round(turn * coordinate)
      for period in periods {
        let a = Double(round(t / period))
        result.append((round(Float(sin(a))), round(Float(cos(a)))))
      }
    }
    return result
  }
}
