internal import CKernels
internal import Glibc

/// Operations on parameters: element-wise, in blocks over the pool.
extension CPUDevice {
  public func fill(_ tensor: Tensor, _ value: Float) {
    let kernels = kernels
    forElements(tensor) { x, _, count in kernels.fill(x, value, count) }
  }

  public func add(_ source: Tensor, factor: Float, to target: Tensor) {
    guard let from = source.floats.baseAddress else { return }
    let kernels = kernels
    forElements(target) { x, at, count in kernels.add_scaled(x, from + at, factor, count) }
    withExtendedLifetime(source) {}
  }

  public func scale(_ tensor: Tensor, _ factor: Float) {
    let kernels = kernels
    forElements(tensor) { x, _, count in kernels.scale(x, factor, count) }
  }

  public func sumOfSquares(_ tensor: Tensor) -> Double {
    guard let x = tensor.floats.baseAddress else { return 0 }
    let (count, grain) = (tensor.count, Self.elementGrain)
    let kernels = kernels
    var partial = [Double](repeating: 0, count: (count + grain - 1) / grain)
    partial.withUnsafeMutableBufferPointer { partial in
      guard let sums = partial.baseAddress else { return }
      pool.forBlocks(of: count, grain: grain) { block in
        sums[block.lowerBound / grain] = kernels.sum_of_squares(x + block.lowerBound, Int64(block.count))
      }
    }
    withExtendedLifetime(tensor) {}
    return partial.reduce(0, +)
  }

  public func interpolate(_ source: Tensor, momentum: Float, into target: Tensor) {
    guard let from = source.floats.baseAddress else { return }
    let kernels = kernels
    forElements(target) { x, at, count in kernels.interpolate(x, from + at, momentum, 1 - momentum, count) }
    withExtendedLifetime(source) {}
  }

  public func adamW(_ parameter: Tensor, gradient: Tensor, firstMoment: Tensor, secondMoment: Tensor, _ update: AdamWUpdate) {
    guard let g = gradient.floats.baseAddress, let first = firstMoment.floats.baseAddress,
      let second = secondMoment.floats.baseAddress
    else { return }
    var args = ck_adamw_args()
    args.gradient_scale = Float(update.gradientScale)
    args.decay = Float(1 - update.learningRate * update.weightDecay)
    args.first_weight = Float(1 - update.beta1)
    args.beta2 = Float(update.beta2)
    args.second_weight = Float(1 - update.beta2)
    args.step_size = Float(update.learningRate / (1 - pow(update.beta1, Double(update.step))))
    args.root_correction = Float((1 - pow(update.beta2, Double(update.step))).squareRoot())
    args.epsilon = Float(update.epsilon)
    let kernels = kernels
    withUnsafePointer(to: args) { args in
      forElements(parameter) { x, at, count in kernels.adamw(x, g + at, first + at, second + at, args, count) }
    }
    withExtendedLifetime((gradient, firstMoment, secondMoment)) {}
  }

  private func forElements(_ tensor: Tensor, _ body: (_ x: UnsafeMutablePointer<Float>, _ at: Int, _ count: Int64) -> Void) {
    guard let x = tensor.floats.baseAddress else { return }
    pool.forBlocks(of: tensor.count, grain: Self.elementGrain) { block in
      body(x + block.lowerBound, block.lowerBound, Int64(block.count))
    }
    withExtendedLifetime(tensor) {}
  }
}
