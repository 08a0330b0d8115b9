package httpapi

import (
	"slices"

	"github.com/gofiber/fiber/v2"
)

// Routes lists what the server answers, as "METHOD /path/:parameter".
func (s *Server) Routes() []string {
	var routes []string
	for _, route := range s.fiber.GetRoutes(true) {
		if route.Method != fiber.MethodHead { // goes with every GET
			routes = append(routes, route.Method+" "+route.Path)
		}
	}
	slices.Sort(routes)
	return routes
}
