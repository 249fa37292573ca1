internal import Imaging
public import Platform
internal import Tensors

/// Makes the batches of pretraining: images from a source, changes, crops, masks. A batch is a pure function of (seed, iteration).
///
/// Immutable, so that workers may share it. Source: model specification 7.
public struct CropMaker: Sendable {
  public let source: any SliceSource
  public let crops: CropOptions
  public let pixels: PixelOptions
  public let masks: MaskOptions
  /// Images of a batch on all ranks, and those of this one.
  public let batchSize: Int
  public let items: Range<Int>
  public let channels: Int
  public let patchSize: Int
  public let seed: UInt64
  private let order: ShuffledOrder
  /// Offsets of local crops inside global ones are multiples of this. Source: model specification 7.1.
  private static let offsetUnit = 16

  /// `channels`, `patchSize`: of the encoder; images of one channel are repeated. `items`: the part of every batch that is made; nil: all.
  /// Its images and masks are those that they would be in the whole batch. Throws: `.invalid`.
  public init(
    _ source: any SliceSource, crops: CropOptions, pixels: PixelOptions, masks: MaskOptions, batchSize: Int, channels: Int, patchSize: Int,
    seed: UInt64, items: Range<Int>? = nil
  ) throws(MedDINOError) {
    guard source.count >= 1 else { throw .invalid("the source of slices has \(source.count), expected at least 1") }
    guard batchSize >= 1 else { throw .invalid("batch size is \(batchSize), expected at least 1") }
    let items = items ?? 0..<batchSize
    guard items.lowerBound >= 0, items.upperBound <= batchSize, !items.isEmpty else {
      throw .invalid("items \(items) of a batch of \(batchSize), expected a part of it")
    }
    try crops.validate(patchSize: patchSize)
    try pixels.validate(channels: channels)
    try masks.validate()
    (self.source, self.crops, self.pixels, self.masks) = (source, crops, pixels, masks)
    (self.batchSize, self.channels, self.patchSize, self.seed) = (batchSize, channels, patchSize, seed)
    self.items = items
    order = ShuffledOrder(count: source.count, seed: seed)
  }

  /// Throws: what the source throws, `.shape`, `.invalid`, `.outOfMemory`, `.cancelled`.
  public func batch(
    at iteration: Int, in budget: MemoryBudget, control: RunControl = RunControl()
  ) throws(MedDINOError) -> PretrainingBatch {
    let size = crops.resolution(at: iteration)
    func total(_ count: Int, _ side: Int) throws(MedDINOError) -> Tensor {
      try Tensor([count * items.count, channels, side, side], in: budget, "crops")
    }
    let globals = try total(globalCropCount, size.global)
    let locals = try total(crops.localCount, size.local)
    let grams = try size.gram.map { side throws(MedDINOError) in try total(globalCropCount, side) }
    let workspace = Workspace(budget)
    for item in items {
      let place = item - items.lowerBound
      try control.check()
      let index = order.index(iteration * batchSize + item)
      let slice = try source.slice(at: index, in: budget)
      guard slice.channels == channels || slice.channels == 1 else {
        throw .shape("slice \(index) has \(slice.channels) channels, expected 1 or the encoder's \(channels)")
      }
      var views = try ImageViews(self, slice, size, iteration: iteration, item: item, in: budget, workspace)
      for crop in 0..<globalCropCount {
        let pair = try views.global(crop)
        store(pair.global, at: crop * items.count + place, in: globals)
        if let gram = pair.gram, let grams { store(gram, at: crop * items.count + place, in: grams) }
      }
      for crop in 0..<crops.localCount { store(try views.local(crop), at: crop * items.count + place, in: locals) }
    }
    var random = CounterRandom(seed: seed, purpose: "pretraining masks", step: UInt64(iteration))
    let drawn = try BatchMasks.draw(
      BlockMask(cropSize: size.global, patchSize: patchSize), crops: globalCropCount * batchSize, masks, &random, in: budget)
    let own = (0..<globalCropCount).flatMap { crop in items.map { crop * batchSize + $0 } }
    let masks = items.count == batchSize ? drawn : try drawn.crops(own, in: budget)
    return PretrainingBatch(globalCrops: globals, localCrops: locals, gramCrops: grams, masks: masks)
  }

  /// One channel fills all of the encoder's.
  func store(_ crop: Tensor, at place: Int, in batch: Tensor) {
    let target = batch.rows(place..<place + 1).reshaped([channels, crop.shape[1], crop.shape[2]])
    if crop.shape[0] == channels { return target.copy(from: crop) }
    for channel in 0..<channels { target.rows(channel..<channel + 1).copy(from: crop) }
  }

  /// The views of one image.
  private struct ImageViews {
    let maker: CropMaker
    let size: CropOptions.Resolution
    let budget: MemoryBudget
    let prepared: PreparedSlice
    var image: Tensor { prepared.image }
    var random: CounterRandom
    /// Undistorted global crops, from which local ones may be cut.
    var bases: [Tensor] = []

    init(
      _ maker: CropMaker, _ slice: PretrainingSlice, _ size: CropOptions.Resolution, iteration: Int, item: Int, in budget: MemoryBudget,
      _ workspace: Workspace
    ) throws(MedDINOError) {
      let key = (step: UInt64(iteration), item: UInt64(item))
      (self.maker, self.size, self.budget) = (maker, size, budget)
      random = CounterRandom(seed: maker.seed, purpose: "pretraining crops", step: key.step, item: key.item)
      prepared = try PreparedSlice(slice, maker.pixels, channels: maker.channels, in: budget)
      switch maker.pixels.augmentation {
      case .none: break
      case .ct: try SliceAugmentation.apply(to: image, seed: maker.seed, step: key.step, item: key.item, workspace: workspace)
      case .natural: if maker.crops.sharesColorChanges { ColorAugmentation.changeColors(of: image, &random) }
      }
    }

    /// A global crop and the Gram teacher's view of the same field.
    mutating func global(_ crop: Int) throws(MedDINOError) -> (global: Tensor, gram: Tensor?) {
      let largest = max(size.global, size.gram ?? 0)
      let window = CropWindow.draw(
        rows: image.shape[1], columns: image.shape[2], scale: maker.crops.globalScale, flips: maker.crops.horizontalFlips, &random)
      let base = try cut(image, window, to: largest)
      let small = try resized(base, to: size.global)
      bases.append(small)
      let view = crop == 0 ? ColorAugmentation.View.firstGlobal : .secondGlobal
      guard let side = size.gram, !maker.crops.gramWithoutDistortions else {
        let gram = try size.gram.map { side throws(MedDINOError) in normalized(try copy(try resized(base, to: side))) }
        return (normalized(distorted(try copy(small), view)), gram)
      }
      let whole = normalized(distorted(try copy(base), view))
      return (try resized(whole, to: size.global), try resized(whole, to: side))
    }

    mutating func local(_ crop: Int) throws(MedDINOError) -> Tensor {
      if maker.crops.localCropsFromGlobal {
        let base = bases[crop * globalCropCount / maker.crops.localCount]
        let places = max((size.global - size.local) / CropMaker.offsetUnit, 1)
        let window = CropWindow(
          top: random.below(places) * CropMaker.offsetUnit, left: random.below(places) * CropMaker.offsetUnit, rows: size.local,
          columns: size.local)
        return normalized(distorted(try cut(base, window, to: size.local), .local))
      }
      let window = CropWindow.draw(
        rows: image.shape[1], columns: image.shape[2], scale: maker.crops.localScale, flips: maker.crops.horizontalFlips, &random)
      return normalized(distorted(try cut(image, window, to: size.local), .local))
    }

    // MARK: pixels

    private mutating func distorted(_ crop: Tensor, _ view: ColorAugmentation.View) -> Tensor {
      guard maker.pixels.augmentation == .natural else { return crop }
      if !maker.crops.sharesColorChanges { ColorAugmentation.changeColors(of: crop, &random) }
      ColorAugmentation.distort(crop, view, &random)
      return crop
    }

    private func normalized(_ crop: Tensor) -> Tensor {
      prepared.complete(crop)
      return crop
    }

    private func copy(_ crop: Tensor) throws(MedDINOError) -> Tensor {
      let own = try Tensor(crop.shape, in: budget, "crop")
      own.copy(from: crop)
      return own
    }

    /// The window of an image at another size, mirrored where it says so. Bicubic, antialiased.
    private func cut(_ image: Tensor, _ window: CropWindow, to side: Int) throws(MedDINOError) -> Tensor {
      let (rows, columns) = (image.shape[1], image.shape[2])
      let inside = try Tensor([image.shape[0], window.rows, window.columns], in: budget, "window")
      let (from, to) = (image.floats, inside.floats)
      for channel in 0..<image.shape[0] {
        for row in 0..<window.rows {
          let line = (channel * rows + window.top + row) * columns + window.left
          let target = (channel * window.rows + row) * window.columns
          for column in 0..<window.columns {
            to[target + column] = from[line + (window.isFlipped ? window.columns - 1 - column : column)]
          }
        }
      }
      withExtendedLifetime((image, inside)) {}
      return try resized(inside, rows: side, columns: side)
    }

    private func resized(_ image: Tensor, to side: Int) throws(MedDINOError) -> Tensor {
      try resized(image, rows: side, columns: side)
    }

    private func resized(_ image: Tensor, rows: Int, columns: Int) throws(MedDINOError) -> Tensor {
      try CropMaker.resized(image, rows: rows, columns: columns, in: budget)
    }
  }
}
