internal import Platform
public import Tensors

/// Number of global crops of an image. Source: model specification 6.3.
public let globalCropCount = 2

/// The crops of one iteration, crop-major: all images of the first crop, then all of the second. Source: model specification 6.2.
public struct PretrainingBatch: Sendable {
  /// float32 [2 · images, channels, size, size].
  public let globalCrops: Tensor
  /// float32 [local crops · images, channels, size, size].
  public let localCrops: Tensor
  /// The views of the global crops for the Gram teacher, [2 · images, channels, size, size]; nil: the global crops themselves.
  public let gramCrops: Tensor?
  public let masks: BatchMasks
  public init(globalCrops: Tensor, localCrops: Tensor, gramCrops: Tensor? = nil, masks: BatchMasks) {
    (self.globalCrops, self.localCrops, self.gramCrops, self.masks) = (globalCrops, localCrops, gramCrops, masks)
  }

  public var images: Int { globalCrops.shape[0] / globalCropCount }
  public var localCount: Int { localCrops.shape[0] / max(images, 1) }

  /// Throws: `.shape` naming what does not fit together.
  func check(channels: Int, patchSize: Int) throws(MedDINOError) {
    let global = globalCrops.shape
    guard global.rank == 4, global[0] >= globalCropCount, global[0] % globalCropCount == 0, global[1] == channels else {
      throw .shape("global crops are \(global), expected [2 · images, \(channels), height, width]")
    }
    let local = localCrops.shape
    guard local.rank == 4, local[0] > 0, local[0] % images == 0, local[1] == channels else {
      throw .shape("local crops are \(local), expected a multiple of \(images) images of \(channels) channels")
    }
    if let gram = gramCrops?.shape, gram.rank != 4 || gram[0] != global[0] || gram[1] != channels {
      throw .shape("Gram teacher crops are \(gram), expected [\(global[0]), \(channels), height, width]")
    }
    let patches = (global[2] / patchSize) * (global[3] / patchSize)
    guard masks.masks.shape == [global[0], patches] else {
      throw .shape("masks are \(masks.masks.shape), expected [\(global[0]), \(patches)]")
    }
  }
}
