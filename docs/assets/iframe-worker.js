// The search of a site runs in a Worker, which browsers refuse to start from file://.
// There, this runs its script in a hidden frame instead, so that search works offline.
"use strict"
if (location.protocol === "file:") {
  // The script looks for this name to find the files that it loads itself.
  window.IFrameWorker = window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.append(frame)
      const inner = (this.inner = frame.contentWindow)
      inner.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }))
      const run = (src) =>
        new Promise((resolve, reject) => {
          const script = inner.document.createElement("script")
          Object.assign(script, { src, onload: resolve, onerror: reject })
          inner.document.body.append(script)
        })
      inner.importScripts = async (...urls) => {
        for (const src of urls) await run(src)
      }
      this.ready = run(new URL(url, document.baseURI).href)
    }
    async postMessage(data) {
      await this.ready
      this.inner.dispatchEvent(new MessageEvent("message", { data }))
    }
    terminate() {
      this.inner.frameElement.remove()
    }
  }
}
