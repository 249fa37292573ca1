import Platform
import TestSupport
import Testing

@testable import Tensors

/// Every instruction set that runs here, or the one that MEDDINO_SIMD forces.
func trainingDevices(threads: Int = 2) throws -> [CPUDevice] {
  let forced = try environment("MEDDINO_SIMD").map { try InstructionSet.named($0) }
  let sets = forced.map { [$0] } ?? InstructionSet.allCases.filter(\.isSupported)
  return try sets.map { try CPUDevice(pool: ThreadPool(threads: threads), budget: MemoryBudget(), instructionSet: $0) }
}

extension CPUDevice {
  func tensor(_ values: [Float], _ shape: Shape) throws -> Tensor { try Tensor(values, shape, in: budget) }
  func zeros(_ shape: Shape) throws -> Tensor { try Tensor([Float](repeating: 0, count: shape.count), shape, in: budget) }
}

extension SeededGenerator {
  mutating func tensor(_ shape: Shape, in range: ClosedRange<Float> = -1...1, on device: CPUDevice) throws -> Tensor {
    try device.tensor(floats(shape.count, in: range), shape)
  }
}

/// The largest difference between float32 results and what double precision says, in units of the expected values' root mean square
/// (or of 1 where they are all small). A NaN is the worst of all.
func relativeError(_ got: Tensor, _ expected: [Double]) -> Double {
  guard got.count == expected.count else { return .infinity }
  let size = (expected.reduce(0) { $0 + $1 * $1 } / Double(max(expected.count, 1))).squareRoot()
  var worst = 0.0
  for (a, b) in zip(got.floatArray(), expected) {
    let error = abs(Double(a) - b)
    if !(error <= worst) { worst = error.isNaN ? .infinity : error }
  }
  return worst / max(size, 1e-6)
}

/// Central differences of a scalar function of some numbers, in double precision.
func differences(_ x: [Double], step: Double = 1e-5, _ f: ([Double]) -> Double) -> [Double] {
  x.indices.map { i in
    var (up, down) = (x, x)
    up[i] += step
    down[i] -= step
    return (f(up) - f(down)) / (2 * step)
  }
}

func doubles(_ values: [Float]) -> [Double] { values.map(Double.init) }
func doubles(_ tensor: Tensor) -> [Double] { doubles(tensor.floatArray()) }
