// A file of its own, so that the page's Content-Security-Policy need not allow inline scripts.
SwaggerUIBundle({
  url: "/docs/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  validatorUrl: null, // else documents of public hosts are sent to a validator of Swagger's
});
