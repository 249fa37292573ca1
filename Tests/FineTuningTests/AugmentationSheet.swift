import Datasets
import FineTuning
import Platform
import Reports
import Segmentation
import Tensors
import TestSupport
import Testing

/// A sheet of augmented phantom patches with label contours, to be looked at. Only when MEDDINO_SHEET names the PNG to write.
@Test(.enabled(if: environment("MEDDINO_SHEET") != nil)) func augmentationSheet() throws {
  let budget = MemoryBudget()
  var phantom = PhantomOptions.fixed(matrix: 256, slices: 24, spacing: 1.5, sliceSpacing: 12)
  phantom.missingChance = 0
  let (volume, marks) = try Phantom.makeCase(index: 0, options: phantom, in: budget)
  let named = Phantom.labels(8).map { "\"\($0.name)\":\($0.value)" }.joined(separator: ",")
  let scheme = try scheme("{\"background\":0,\(named)}")
  let source = try SyntheticCase("phantom", shape: [1, 24, 256, 256], scheme: scheme) { slice, row, column in
    Int(marks.value(column, row, slice))
  } value: { _, slice, row, column in
    Float(volume.value(column, row, slice) / 200)
  }
  var options = Augmentation()
  options.spatial.rotationChance = 0.6
  options.spatial.scalingChance = 0.6
  options.lowResolution.isApplied = true
  let patch = 224
  let maker = try BatchMaker(
    .training, cases: [source], configuration: configuration([patch, patch], batchSize: 20), scheme: scheme, augmentation: options,
    foregroundShare: 0.8, seed: 4, in: budget)
  let batch = try maker.make(step: 0)
  let canvas = try Canvas(width: 5 * (patch + 8), height: 4 * (patch + 28), in: budget)
  let (values, labels) = (batch.images.floats, batch.targets.elements(Int16.self))
  for item in 0..<20 {
    let (left, top) = (item % 5 * (patch + 8) + 4, item / 5 * (patch + 28) + 24)
    for row in 0..<patch {
      for column in 0..<patch {
        let at = (item * patch + row) * patch + column
        let grey = UInt8(min(max((values[at] + 0.8) / 2 * 255, 0), 255))
        canvas.plot(left + column, top + row, Colour(grey, grey, grey, 255))
        let isEdge = (column + 1 < patch && labels[at + 1] != labels[at]) || (row + 1 < patch && labels[at + patch] != labels[at])
        if isEdge { canvas.plot(left + column, top + row, LabelPalette.colour(of: max(Int(labels[at]), 1))) }
      }
    }
    canvas.text(
      title(options.draw(seed: 4, step: 0, item: item, channels: 1, patch: [patch, patch])), x: left, y: top - 20, .init(repeating: 255))
  }
  try canvas.writePNG(to: environment("MEDDINO_SHEET") ?? "", in: budget)
  withExtendedLifetime(batch) {}
}

private func title(_ parameters: Augmentation.Parameters) -> String {
  var parts: [String] = []
  if let spatial = parameters.spatial {
    parts.append("\(Int(spatial.angle * 180 / .pi)) deg x\(DecimalText.fixed(spatial.scale, digits: 2))")
  }
  if parameters.noise != nil { parts.append("noise") }
  if parameters.blur?[0] != nil { parts.append("blur") }
  if parameters.brightness != nil { parts.append("bright") }
  if parameters.contrast != nil { parts.append("contrast") }
  if parameters.lowResolution?[0] != nil { parts.append("low") }
  if parameters.invertedGamma != nil { parts.append("inv gamma") }
  if parameters.gamma != nil { parts.append("gamma") }
  if let mirror = parameters.mirror { parts.append("flip" + (mirror.rows ? "R" : "") + (mirror.columns ? "C" : "")) }
  return parts.joined(separator: " ")
}
