public import Tensors

/// One learned tensor with its gradient.
public final class Parameter {
  public let name: String
  public let value: Tensor
  public let gradient: Tensor?
  public let isTrainable: Bool
  public init(name: String, value: Tensor, gradient: Tensor?, isTrainable: Bool = true) {
    self.name = name
    self.value = value
    self.gradient = gradient
    self.isTrainable = isTrainable
  }
}
