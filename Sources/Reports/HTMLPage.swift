internal import Platform

/// One HTML file that needs nothing else: no scripts, no fonts, no pictures beside it. What a browser would load from elsewhere, it refuses.
struct HTMLPage {
  var title: String
  var subtitle = ""
  /// The markup below the header.
  var body: String

  /// The whole file.
  var html: String {
    let name = HTMLText.escaped(title)
    return """
      <!DOCTYPE html>
      <html lang="en">
      <head>
      <meta charset="utf-8">
      <meta name="viewport" content="width=device-width, initial-scale=1">
      <meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
      <title>\(name)</title>
      <style>\(Self.style)</style>
      </head>
      <body>
      <header><h1>\(name)</h1>
      <p class="sub">\(HTMLText.escaped(subtitle))</p></header>
      <main>
      \(body)</main>
      </body>
      </html>

      """
  }

  /// Whole or not at all. Throws: `.io`.
  func write(to path: String) throws(MedDINOError) { try AtomicFile.write(Array(html.utf8), to: path) }
}
