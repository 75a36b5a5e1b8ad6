// The picture of the map, which is visible until the first tile is loaded, and instead of the map without its server.

/** Take the picture from the page around this one, such as a notebook, so that it need not be stored twice. */
function adoptPicture() {
  if (!content.hasPicture || document.getElementById("picture")) return;
  try {
    const outside = window.frameElement.parentElement.querySelector("img");
    const picture = outside.cloneNode();
    picture.id = "picture";
    picture.removeAttribute("style");
    document.body.prepend(picture);
  } catch {
    document.body.classList.add("transparent"); // the picture and the legends outside are visible through this page
  }
}
