public import Platform

extension Tape {
  /// Exact GELU, 0.5 x (1 + erf(x / √2)). Only the input is kept; the result is made again for the backward of what uses it.
  ///
  /// Backward: g · gelu'(input). Throws: `.outOfMemory`. Source: model specification 1.7.
  public func gelu(_ input: Variable) throws(MedDINOError) -> Variable {
    let (value, device, pool) = (input.value, device, pool)
    let remake: Variable.Remake = { () throws(MedDINOError) in
      let output = try pool.tensor(value.shape, "GELU")
      device.gelu(value, into: output)
      return output
    }
    let target = input.target
    return record(try remake(), [input], remake: remake) { (tape, gradient) throws(MedDINOError) in
      guard let target else { return }
      tape.device.geluBackward(value, gradient: gradient, into: gradient)
      try tape.hand(gradient, to: target)
    }
  }

  /// silu(gate) · up. Only the two inputs are kept.
  ///
  /// Backward: gate gradient = g · up · silu'(gate), up gradient = g · silu(gate).
  /// Throws: `.outOfMemory`. Source: model specification 1.7.
  public func swiGLU(gate: Variable, up: Variable) throws(MedDINOError) -> Variable {
    let (gateValue, upValue, device, pool) = (gate.value, up.value, device, pool)
    let remake: Variable.Remake = { () throws(MedDINOError) in
      let output = try pool.tensor(gateValue.shape, "SwiGLU")
      device.swiGLU(gate: gateValue, up: upValue, into: output)
      return output
    }
    let (toGate, toUp) = (gate.target, up.target)
    return record(try remake(), [gate, up], remake: remake) { (tape, gradient) throws(MedDINOError) in
      let upGradient = try tape.tensor(upValue.shape, "gradient")
      tape.device.swiGLUBackward(gate: gateValue, up: upValue, gradient: gradient, gateGradient: gradient, upGradient: upGradient)
      if let toGate { try tape.hand(gradient, to: toGate) }
      if let toUp { try tape.hand(upGradient, to: toUp) }
    }
  }
}
