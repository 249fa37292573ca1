internal import Glibc
internal import Tensors

/// One patient: everything that is drawn once per case, in body coordinates.
struct PhantomAnatomy {
  /// Half width and half depth of the torso at its widest, mm of body coordinates.
  var halfWidth: Float = 172
  var halfDepth: Float = 112
  var fat: Float = 16
  var wall: Float = 12
  var vertebraPhase: Float = 0
  var ribPhase: Float = 0
  /// Tops of the right and left half of the diaphragm.
  var domes: (right: Float, left: Float) = (118, 106)
  /// Stomach gas lies in front of this y.
  var gasLevel: Float = -60
  var muscleHU: Float = 55
  var fatHU: Float = -103
  var bloodHU: Float = 43
  var bowelHU: Float = 32
  var pancreasHU: Float = 38
  var boneHU: Float = 170
  var bowelPhase = BodyPoint(x: 0, y: 0, z: 0)
  /// The bend of the whole body: amplitude in mm, waves per mm, phase; each coordinate is moved by the other two.
  var bend = BodyPoint(x: 0, y: 0, z: 0)
  var bendRate: (Float, Float, Float, Float, Float, Float) = (0, 0, 0, 0, 0, 0)
  var bendPhase = BodyPoint(x: 0, y: 0, z: 0)
  /// Slow shading over the picture, HU.
  var shading: Float = 0
  var shadingPhase: Float = 0
  /// In order of priority: where two overlap, the earlier one wins.
  var organs: [BodyOrgan] = []

  init(_ options: PhantomOptions, case index: Int) {
    var random = CounterRandom(seed: options.seed, purpose: "phantom.anatomy", step: UInt64(max(index, 0)))
    func draw(_ low: Double, _ high: Double) -> Float { Float(random.uniform(low...high)) }
    halfWidth = draw(160, 180)
    halfDepth = draw(104, 120)
    fat = draw(9, 22)
    wall = draw(10, 14)
    vertebraPhase = draw(0, 1)
    ribPhase = draw(0, 1)
    domes = (draw(108, 126), draw(98, 114))
    gasLevel = draw(-85, -35)
    muscleHU = draw(50, 60) + options.phase.muscle
    fatHU = draw(-110, -96)
    bloodHU = draw(38, 48) + options.phase.blood
    let contents = draw(26, 40)
    (bowelHU, pancreasHU) = (contents + options.phase.bowel, contents + 6 + options.phase.pancreas)
    boneHU = draw(130, 220)
    bowelPhase = BodyPoint(x: draw(0, 1), y: draw(0, 1), z: draw(0, 1))
    bend = BodyPoint(x: draw(2, 6), y: draw(2, 5), z: draw(2, 7))
    bendRate = (
      draw(0.002, 0.005), draw(0.003, 0.006), draw(0.003, 0.006), draw(0.002, 0.005), draw(0.002, 0.005),
      draw(0.003, 0.006)
    )
    bendPhase = BodyPoint(x: draw(0, 1), y: draw(0, 1), z: draw(0, 1))
    shading = draw(0, 6)
    shadingPhase = draw(0, 1)
    organs = [
      aorta(&random), rightKidney(&random), leftKidney(&random), gallbladder(&random), spleen(&random), liver(&random),
      stomach(&random), bladder(&random),
    ]
    for place in organs.indices {
      let (mean, spread) = organs[place].kind.hounsfield(options.phase)
      organs[place].hounsfield = Float(mean + spread * min(max(random.normal(), -2.5), 2.5))
      let chance = options.missingChance
      switch organs[place].kind {
      case .gallbladder: organs[place].present = !random.chance(min(1, 2 * chance))
      case .spleen, .rightKidney, .leftKidney: organs[place].present = !random.chance(chance)
      default: break
      }
    }
  }

  /// A blob with jitter of its place, size and pose.
  private func blob(
    _ random: inout CounterRandom, at centre: (Double, Double, Double), semi: (Double, Double, Double),
    square: Double = 0.3,
    turn: (Double, Double) = (0, 0), shift: Double = 4
  ) -> BodyBlob {
    var blob = BodyBlob()
    func moved(_ value: Double) -> Float { Float(value + random.uniform(-shift...shift)) }
    blob.centre = BodyPoint(x: moved(centre.0), y: moved(centre.1), z: moved(centre.2))
    let size = random.uniform(0.93...1.07)
    func sized(_ value: Double) -> Double { value * size * random.uniform(0.94...1.06) }
    let (a, b, c) = (sized(semi.0), sized(semi.1), sized(semi.2))
    let yaw = (turn.0 + random.uniform(-8...8)) * .pi / 180
    let tilt = (turn.1 + random.uniform(-8...8)) * .pi / 180
    let (cy, sy, ct, st) = (cos(yaw), sin(yaw), cos(tilt), sin(tilt))
    // Tilt in the frontal plane, then yaw about the long axis.
    blob.m0 = BodyPoint(x: Float(cy * ct / a), y: Float(sy / a), z: Float(-cy * st / a))
    blob.m1 = BodyPoint(x: Float(-sy * ct / b), y: Float(cy / b), z: Float(sy * st / b))
    blob.m2 = BodyPoint(x: Float(st / c), y: 0, z: Float(ct / c))
    blob.squareness = Float(square)
    blob.reach = Float(max(a, b, c) * 1.4)
    return blob
  }

  private func organ(_ kind: PhantomOrganKind, _ blobs: [BodyBlob], lump: Float, _ random: inout CounterRandom)
    -> BodyOrgan
  {
    var organ = BodyOrgan(kind)
    organ.blobs.0 = blobs[0]
    if blobs.count > 1 { organ.blobs.1 = blobs[1] }
    if blobs.count > 2 { organ.blobs.2 = blobs[2] }
    organ.blobCount = min(blobs.count, 3)
    organ.lump = lump
    func rate() -> Float { Float(random.uniform(0.006...0.016)) * (random.chance(0.5) ? 1 : -1) }
    organ.lumpWave = BodyPoint(x: rate(), y: rate(), z: rate())
    organ.lumpPhase = random.uniformFloat()
    return organ
  }

  private func liver(_ random: inout CounterRandom) -> BodyOrgan {
    let right = blob(&random, at: (-82, -6, 62), semi: (70, 78, 76), square: 0.5, turn: (6, 8))
    let left = blob(&random, at: (-8, -52, 80), semi: (72, 34, 38), square: 0.2, turn: (-6, -10))
    let tail = blob(&random, at: (-98, -8, 5), semi: (42, 52, 44), square: 0.2)
    return organ(.liver, [right, left, tail], lump: 0.10, &random)
  }
  private func spleen(_ random: inout CounterRandom) -> BodyOrgan {
    let body = blob(&random, at: (107, 42, 55), semi: (26, 43, 50), square: 0.3, turn: (-28, -14))
    return organ(.spleen, [body], lump: 0.12, &random)
  }
  private func rightKidney(_ random: inout CounterRandom) -> BodyOrgan {
    kidney(.rightKidney, side: -1, top: -14, &random)
  }
  private func leftKidney(_ random: inout CounterRandom) -> BodyOrgan {
    kidney(.leftKidney, side: 1, top: 4, &random)
  }
  private func kidney(
    _ kind: PhantomOrganKind, side: Double, top: Double, _ random: inout CounterRandom
  ) -> BodyOrgan {
    let body = blob(&random, at: (side * 66, 50, top), semi: (26, 25, 54), square: 0.15, turn: (side * 25, side * -12))
    var sinus = blob(&random, at: (0, 0, 0), semi: (17, 12, 22), square: 0, shift: 1)
    sinus.centre = BodyPoint(x: body.centre.x - Float(side * 20), y: body.centre.y - 8, z: body.centre.z)
    var kidney = organ(kind, [body], lump: 0.06, &random)
    kidney.bite = sinus
    return kidney
  }
  private func stomach(_ random: inout CounterRandom) -> BodyOrgan {
    let fundus = blob(&random, at: (68, 12, 84), semi: (36, 36, 34), square: 0.1)
    let middle = blob(&random, at: (60, -32, 50), semi: (32, 34, 42), square: 0.1)
    let outlet = blob(&random, at: (10, -52, 16), semi: (44, 22, 20), square: 0.1, turn: (0, 12))
    return organ(.stomach, [fundus, middle, outlet], lump: 0.08, &random)
  }
  private func gallbladder(_ random: inout CounterRandom) -> BodyOrgan {
    let body = blob(&random, at: (-52, -58, 6), semi: (17, 19, 29), square: 0, turn: (0, 14))
    return organ(.gallbladder, [body], lump: 0.04, &random)
  }
  private func aorta(_ random: inout CounterRandom) -> BodyOrgan {
    var tube = BodyBlob()
    let radius = random.uniform(9.5...13)
    tube.centre = BodyPoint(x: Float(random.uniform(6...14)), y: Float(random.uniform(12...17)), z: 60)
    let slant = Float(random.uniform(-0.03...0.03))
    // A long rounded box is a tube that ends 152 mm below its middle, where the aorta divides.
    tube.m0 = BodyPoint(x: Float(1 / radius), y: 0, z: slant / Float(radius))
    tube.m1 = BodyPoint(x: 0, y: Float(1 / radius), z: 0)
    tube.m2 = BodyPoint(x: 0, y: 0, z: 1 / 400)
    tube.reach = 560
    return organ(.aorta, [tube], lump: 0, &random)
  }
  private func bladder(_ random: inout CounterRandom) -> BodyOrgan {
    let filling = random.uniform(0.75...1.2)
    let body = blob(
      &random, at: (0, -32, -158 + 10 * filling), semi: (46 * filling, 34 * filling, 30 * filling), square: 0.25)
    return organ(.bladder, [body], lump: 0.06, &random)
  }
}
