package import Platform
public import Tensors

/// A range of factors around 1: as likely below as above it.
///
/// Source: pipeline specification 7 (brightness, contrast, gamma).
public struct FactorRange: Equatable, Sendable {
  public var lower: Double
  public var upper: Double
  public init(_ lower: Double, _ upper: Double) {
    self.lower = lower
    self.upper = upper
  }

  /// With one half uniform from lower to 1, otherwise from 1 to upper.
  public func draw(_ random: inout CounterRandom) -> Double {
    lower < 1 && random.chance(0.5) ? random.uniform(lower...1) : random.uniform(1...max(upper, 1))
  }

  /// Throws: `.invalid` unless 0 < lower <= 1 <= upper.
  package func validate(_ name: String) throws(MedDINOError) {
    guard lower > 0, lower <= 1, upper >= 1, upper.isFinite else {
      throw .invalid("\(name) is \(lower) to \(upper), expected a range of positive factors that holds 1")
    }
  }
}

/// Checks shared by the options of the transforms.
package enum OptionCheck {
  package static func chance(_ value: Double, _ name: String) throws(MedDINOError) {
    guard (0...1).contains(value) else { throw .invalid("\(name) is \(value), expected a probability from 0 to 1") }
  }
  package static func range(_ value: ClosedRange<Double>, _ name: String, in allowed: ClosedRange<Double>) throws(MedDINOError) {
    guard allowed.contains(value.lowerBound), allowed.contains(value.upperBound) else {
      throw .invalid("\(name) is \(value), expected a range inside \(allowed)")
    }
  }
}
