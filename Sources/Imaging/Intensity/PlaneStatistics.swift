/// Mean, smallest and largest value of a plane. Sums in double precision and in an order that only the count decides.
package struct PlaneStatistics {
  package let mean: Double
  package let minimum: Float
  package let maximum: Float

  /// `count` must not be 0.
  package init(_ values: UnsafePointer<Float>, count: Int) {
    var sums = SIMD8<Double>()
    var low = SIMD8<Float>(repeating: values[0])
    var high = low
    let raw = UnsafeRawPointer(values)
    let whole = count & ~7
    var index = 0
    while index < whole {
      let block = raw.loadUnaligned(fromByteOffset: index &* 4, as: SIMD8<Float>.self)
      sums += SIMD8<Double>(block)
      low = low.replacing(with: block, where: block .< low)
      high = high.replacing(with: block, where: block .> high)
      index &+= 8
    }
    var (sum, smallest, largest) = (sums.sum(), low[0], high[0])
    for lane in 1..<8 {
      if low[lane] < smallest { smallest = low[lane] }
      if high[lane] > largest { largest = high[lane] }
    }
    for index in whole..<count {
      sum += Double(values[index])
      if values[index] < smallest { smallest = values[index] }
      if values[index] > largest { largest = values[index] }
    }
    mean = sum / Double(count)
    minimum = smallest
    maximum = largest
  }

  /// Standard deviation with count - 1; 0 for a single value.
  package static func deviation(_ values: UnsafePointer<Float>, count: Int, mean: Double) -> Double {
    guard count > 1 else { return 0 }
    var sums = SIMD8<Double>()
    let middle = SIMD8<Double>(repeating: mean)
    let raw = UnsafeRawPointer(values)
    let whole = count & ~7
    var index = 0
    while index < whole {
      let distance = SIMD8<Double>(raw.loadUnaligned(fromByteOffset: index &* 4, as: SIMD8<Float>.self)) - middle
      sums += distance * distance
      index &+= 8
    }
    var sum = sums.sum()
    for index in whole..<count {
      let distance = Double(values[index]) - mean
      sum += distance * distance
    }
    return (sum / Double(count - 1)).squareRoot()
  }
}
