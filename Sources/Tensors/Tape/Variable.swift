internal import Platform

/// A tensor on a tape: the value now, and where its gradient will gather.
///
/// A value: copying it copies no elements. What has no trainable parameter and no leaf before it has no gradient, and no operation on
/// it is recorded.
public struct Variable {
  public let value: Tensor
  let slot: GradientSlot?
  /// For the results of cheap operations: makes the value again from what is kept anyway, so that nobody has to keep it.
  let remake: Remake?

  typealias Remake = () throws(MedDINOError) -> Tensor

  init(_ value: Tensor, slot: GradientSlot?, remake: Remake? = nil) {
    self.value = value
    self.slot = slot
    self.remake = remake
  }
  /// A constant.
  public init(_ value: Tensor) { self.init(value, slot: nil) }

  public var shape: Shape { value.shape }
  public var needsGradient: Bool { slot != nil }
  /// What backward passes have brought; of a leaf, after `backward`.
  public var gradient: Tensor? { slot?.gradient }

  /// The same elements under another shape.
  public func reshaped(_ shape: Shape) -> Variable {
    guard let remake else { return Variable(value.reshaped(shape), slot: slot) }
    return Variable(value.reshaped(shape), slot: slot) { () throws(MedDINOError) in try remake().reshaped(shape) }
  }

  /// The value for a backward: made again where that is cheap, else kept.
  var saved: Remake {
    if let remake { return remake }
    let value = value
    return { () throws(MedDINOError) in value }
  }
  var target: GradientTarget? { slot.map { GradientTarget(slot: $0, shape: shape) } }
}

/// The gradient of one variable while the tape walks back, or a parameter that gathers it.
final class GradientSlot {
  let parameter: Parameter?
  var gradient: Tensor?
  init(parameter: Parameter? = nil) { self.parameter = parameter }

  /// The gradient, no longer held here.
  func take() -> Tensor? {
    defer { gradient = nil }
    return gradient
  }
}

/// Where an operation's backward puts a gradient, in the shape in which the operation saw the variable. Does not keep its value.
struct GradientTarget {
  let slot: GradientSlot
  let shape: Shape
}
