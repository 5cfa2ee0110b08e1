// Restores the translations of node packs. ComfyUI's page (seen in frontend 1.32) loads its texts of
// the user's language late and overwrites those of the packs, so widgets of every pack stay in
// English. This extension merges the packs' texts again, at once and after each such change.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

function translations() {
  const page = document.querySelector("#vue-app")?.__vue_app__;
  return page?._context.provides[page.__VUE_I18N_SYMBOL__]?.global;
}

app.registerExtension({
  name: "ZImage.Locales",
  async init() {
    const texts = translations();
    if (!texts?.mergeLocaleMessage || !texts.setLocaleMessage) return; // another version of the page
    const ours = await (await api.fetchApi("/i18n")).json();
    const set = texts.setLocaleMessage;
    texts.setLocaleMessage = (language, messages) => {
      set(language, messages);
      if (ours[language]) texts.mergeLocaleMessage(language, ours[language]);
    };
    for (const [language, messages] of Object.entries(ours)) {
      texts.mergeLocaleMessage(language, messages);
    }
  },
});
