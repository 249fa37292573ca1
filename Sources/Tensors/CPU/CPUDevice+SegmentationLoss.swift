internal import CKernels
public import Platform

/// Soft Dice and cross entropy. Two passes over blocks of pixels: sums (and probabilities, kept where the gradient will be), then
/// the gradient in place. Source: pipeline specification 8.
extension CPUDevice {
  public func segmentationLoss(
    _ logits: Tensor, targets: Tensor, _ options: SegmentationLossOptions, scale: Float, gradient: Tensor?, ranks: any Communicator
  ) throws(MedDINOError) -> SegmentationLoss {
    let run = LossRun(device: self, logits: logits, targets: targets, options: options, gradient: gradient, ranks: ranks)
    let result = options.regions ? try run.regions(scale: Double(scale)) : try run.labels(scale: Double(scale))
    withExtendedLifetime((logits, targets, gradient)) {}
    return result
  }
}

private struct LossRun {
  private static let block = 8192
  private static let smooth = 1e-5

  let device: CPUDevice
  let batch, classes, pixels: Int
  let options: SegmentationLossOptions
  let logits: UnsafeMutablePointer<Float>?
  let targets: UnsafeMutablePointer<Int16>?
  let targetChannels: Int
  let gradient: UnsafeMutablePointer<Float>?
  let ranks: any Communicator

  init(
    device: CPUDevice, logits: Tensor, targets: Tensor, options: SegmentationLossOptions, gradient: Tensor?, ranks: any Communicator
  ) {
    self.device = device
    self.ranks = ranks
    batch = logits.shape[0]
    classes = logits.shape[1]
    pixels = logits.count / max(batch * classes, 1)
    self.options = options
    self.logits = logits.floats.baseAddress
    self.targets = targets.elements(Int16.self).baseAddress
    targetChannels = targets.count / max(batch * pixels, 1)
    self.gradient = gradient?.floats.baseAddress
  }
  private var blocks: Int { (pixels + Self.block - 1) / Self.block }
  private func range(_ block: Int) -> Range<Int> { block * Self.block..<min(pixels, (block + 1) * Self.block) }

  /// The Dice term of all ranks' images and, per image of this one and channel, the slopes of its p: d = slope + y · targetSlope.
  /// hits, sums and own are Σ p y, Σ p, Σ y as [batch][channels].
  private func dice(
    channels: Range<Int>, scale: Double, _ sums: (_ image: Int, _ channel: Int) -> (hits: Double, all: Double, own: Double)
  ) throws(MedDINOError) -> (value: Double, slope: [Float], targetSlope: [Float]) {
    var slope = [Float](repeating: 0, count: batch * classes)
    var targetSlope = slope
    let groups = options.batchDice ? [Array(0..<batch)] : (0..<batch).map { [$0] }
    var parts: [Double] = []
    for group in groups {
      for channel in channels {
        var (hits, all, own) = (0.0, 0.0, 0.0)
        for image in group {
          let part = sums(image, channel)
          (hits, all, own) = (hits + part.hits, all + part.all, own + part.own)
        }
        parts += [hits, all, own]
      }
    }
    if options.batchDice { parts = try ranks.sums(parts) }
    let groupCount = options.batchDice ? 1 : try ranks.sums([Double(batch)])[0]
    let terms = max(groupCount * Double(channels.count), 1)
    var total = 0.0
    for (index, group) in groups.enumerated() {
      for (place, channel) in channels.enumerated() {
        let at = 3 * (index * channels.count + place)
        let above = 2 * parts[at] + Self.smooth
        let below = parts[at + 2] + parts[at + 1] + Self.smooth
        total += above / max(below, 1e-8)
        for image in group {
          slope[image * classes + channel] = below > 1e-8 ? Float(scale * above / (below * below) / terms) : 0
          targetSlope[image * classes + channel] = Float(-2 * scale / max(below, 1e-8) / terms)
        }
      }
    }
    if !options.batchDice { total = try ranks.sums([total])[0] }
    return (-total / terms, slope, targetSlope)
  }

  // MARK: labels

  func labels(scale: Double) throws(MedDINOError) -> SegmentationLoss {
    let width = 3 * classes + 2
    let partials = try device.budget.allocateZeroed(batch * blocks * width * MemoryLayout<Double>.size, "loss sums")
    let sums = partials.elements(Double.self)
    try addLabelSums(sums, width)
    var totals = [Double](repeating: 0, count: batch * width)
    for task in 0..<batch * blocks {
      for i in 0..<width { totals[task / blocks * width + i] += sums[task * width + i] }
    }
    let entropy = (0..<batch).reduce(0.0) { $0 + totals[$1 * width + 3 * classes] }
    let counted = (0..<batch).reduce(0.0) { $0 + totals[$1 * width + 3 * classes + 1] }
    var known = 0.0
    for image in 0..<batch { for c in 0..<classes { known += totals[image * width + 2 * classes + c] } }
    guard known == counted else {
      throw .invalid("\(Int(counted - known)) pixels of the targets hold labels outside 0..<\(classes)")
    }
    let dice = try dice(channels: min(1, classes)..<classes, scale: scale) { image, c in
      (totals[image * width + c], totals[image * width + classes + c], totals[image * width + 2 * classes + c])
    }
    let whole = try ranks.sums([entropy, counted])
    let mean = whole[1] > 0 ? whole[0] / whole[1] : 0
    addLabelGradient(ce: whole[1] > 0 ? Float(scale / whole[1]) : 0, dice.slope, dice.targetSlope)
    return SegmentationLoss(total: mean + dice.value, crossEntropy: mean, dice: dice.value)
  }

  private var ignored: Int32 { options.ignoreLabel.flatMap { Int16(exactly: $0) }.map(Int32.init) ?? Int32.min }

  private func addLabelSums(_ sums: UnsafeMutableBufferPointer<Double>, _ width: Int) throws(MedDINOError) {
    guard let logits, let targets, let base = sums.baseAddress else { return }
    let kernels = device.kernels
    let laneBytes = (kernels.label_loss_scratch(Int64(classes)) + 63) / 64 * 64
    let scratch = try device.budget.allocate(laneBytes * device.laneCount(batch * blocks), "loss scratch")
    device.forEachLane(batch * blocks) { lane, task in
      let (image, range) = (task / blocks, range(task % blocks))
      let at = image * classes * pixels + range.lowerBound
      kernels.label_loss_sums(
        logits + at, Int64(pixels), targets + image * pixels + range.lowerBound, ignored, Int64(classes), Int64(range.count),
        gradient.map { $0 + at }, base + task * width, scratch.pointer + lane * laneBytes)
    }
  }

  private func addLabelGradient(ce: Float, _ slope: [Float], _ targetSlope: [Float]) {
    guard let gradient, let targets else { return }
    let kernels = device.kernels
    slope.withUnsafeBufferPointer { slope in
      targetSlope.withUnsafeBufferPointer { targetSlope in
        guard let slope = slope.baseAddress, let targetSlope = targetSlope.baseAddress else { return }
        device.pool.forEach(batch * blocks) { task in
          let (image, range) = (task / blocks, range(task % blocks))
          kernels.label_loss_gradient(
            gradient + image * classes * pixels + range.lowerBound, Int64(pixels), targets + image * pixels + range.lowerBound,
            ignored, Int64(classes), Int64(range.count), ce, slope + image * classes, targetSlope + image * classes)
        }
      }
    }
  }

  // MARK: regions

  func regions(scale: Double) throws(MedDINOError) -> SegmentationLoss {
    let partials = try device.budget.allocateZeroed(batch * classes * blocks * 4 * MemoryLayout<Double>.size, "loss sums")
    let sums = partials.elements(Double.self)
    addRegionSums(sums)
    var totals = [Double](repeating: 0, count: batch * classes * 4)
    for task in 0..<batch * classes * blocks { for i in 0..<4 { totals[task / blocks * 4 + i] += sums[task * 4 + i] } }
    var entropy = 0.0
    for plane in 0..<batch * classes { entropy += totals[plane * 4 + 3] }
    let dice = try dice(channels: 0..<classes, scale: scale) { image, c in
      let at = (image * classes + c) * 4
      return (totals[at], totals[at + 1], totals[at + 2])
    }
    let whole = try ranks.sums([entropy, options.ignoreLabel == nil ? Double(batch * classes * pixels) : insidePixels()])
    let terms = max(whole[1], 1e-8)
    addRegionGradient(bce: Float(scale / terms), dice.slope, dice.targetSlope)
    return SegmentationLoss(total: whole[0] / terms + dice.value, crossEntropy: whole[0] / terms, dice: dice.value)
  }

  /// The last target channel marks what is left out.
  private func leftOut(_ image: Int) -> UnsafePointer<Int16>? {
    guard options.ignoreLabel != nil, let targets else { return nil }
    return UnsafePointer(targets + (image * targetChannels + targetChannels - 1) * pixels)
  }
  private func insidePixels() -> Double {
    var inside = 0
    for image in 0..<batch {
      guard let leftOut = leftOut(image) else { continue }
      for i in 0..<pixels { inside += 1 - Int(leftOut[i]) }
    }
    return Double(inside)
  }

  private func addRegionSums(_ sums: UnsafeMutableBufferPointer<Double>) {
    guard let logits, let targets, let base = sums.baseAddress else { return }
    let kernels = device.kernels
    device.pool.forEach(batch * classes * blocks) { task in
      let (plane, range) = (task / blocks, range(task % blocks))
      let (image, channel) = (plane / classes, plane % classes)
      let at = plane * pixels + range.lowerBound
      kernels.region_loss_sums(
        logits + at, targets + (image * targetChannels + channel) * pixels + range.lowerBound,
        leftOut(image).map { $0 + range.lowerBound }, Int64(range.count), gradient.map { $0 + at }, base + task * 4)
    }
  }

  private func addRegionGradient(bce: Float, _ slope: [Float], _ targetSlope: [Float]) {
    guard let gradient, let targets else { return }
    let kernels = device.kernels
    device.pool.forEach(batch * classes * blocks) { task in
      let (plane, range) = (task / blocks, range(task % blocks))
      let (image, channel) = (plane / classes, plane % classes)
      kernels.region_loss_gradient(
        gradient + plane * pixels + range.lowerBound, targets + (image * targetChannels + channel) * pixels + range.lowerBound,
        leftOut(image).map { $0 + range.lowerBound }, Int64(range.count), bce, slope[plane], targetSlope[plane])
    }
  }
}
